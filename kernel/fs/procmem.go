package fs

import "syscall"

// ProcMemory is the memory of a process as /proc/PID/mem has it: offsets are addresses.
// 0 bytes without an error: the process has none any more. EIO: nothing is mapped
// there.
type ProcMemory interface {
	ReadMemory(p []byte, addr int64) (int, error)
	WriteMemory(p []byte, addr int64) (int, error)
}

// procMemory is /proc/PID/mem. Who may open it is decided then, once.
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
