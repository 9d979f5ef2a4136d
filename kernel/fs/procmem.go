package fs

import "syscall"

// ProcMemory is the memory of a process for /proc/PID/mem. Offsets are addresses. Reads and
// writes return 0 bytes without an error if the process has no memory any more, and EIO if
// nothing is mapped at addr.
type ProcMemory interface {
	ReadMemory(p []byte, addr int64) (int, error)
	WriteMemory(p []byte, addr int64) (int, error)
}

// procMemory is /proc/PID/mem. The access is checked once, at the open.
type procMemory struct {
	inode
	of func(t Task) (ProcMemory, error)
}

func (m *procMemory) size() int64 { return 0 }

func (m *procMemory) open(c call, _ int) (handle, error) {
	if c.task == nil {
		return nil, syscall.EACCES
	}
	mem, err := m.of(c.task)
	if err != nil {
		return nil, err
	}
	return &memoryHandle{mem: mem}, nil
}

type memoryHandle struct {
	plain
	mem ProcMemory
}

func (h *memoryHandle) size() int64 { return 0 }

func (h *memoryHandle) read(_ call, p []byte, off int64) (int, error) {
	return h.mem.ReadMemory(p, off)
}

func (h *memoryHandle) write(_ call, p []byte, off int64) (int, error) {
	return h.mem.WriteMemory(p, off)
}
