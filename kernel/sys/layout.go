package sys

//lint:file-ignore U1000 padding has names here, so that it is copied out as zeros; nothing reads it

import (
	"encoding/binary"

	"grim/kernel/fs"
)

// Structures of the user interface whose layout differs between the two architectures, or
// between Linux and golang.org/x/sys/unix. They are written field by field, so that both
// layouts are tested on any host. All other structures are copied from the types of
// golang.org/x/sys/unix.

var le = binary.LittleEndian

const (
	statSizeAMD64 = 144 // struct stat, arch/x86/include/uapi/asm/stat.h
	statSizeARM64 = 128 // struct stat, include/uapi/asm-generic/stat.h
)

// putStatAMD64 and putStatARM64 write struct stat into b and return its length.
func putStatAMD64(b *[statSizeAMD64]byte, st *fs.Stat) int {
	clear(b[:])
	le.PutUint64(b[0:], st.Dev)
	le.PutUint64(b[8:], st.Ino)
	le.PutUint64(b[16:], uint64(st.Nlink))
	le.PutUint32(b[24:], st.Mode)
	le.PutUint32(b[28:], st.UID)
	le.PutUint32(b[32:], st.GID)
	le.PutUint64(b[40:], st.Rdev)
	le.PutUint64(b[48:], uint64(st.Size))
	le.PutUint64(b[56:], uint64(st.Blksize))
	putStatTail(b, st)
	return statSizeAMD64
}

func putStatARM64(b *[statSizeAMD64]byte, st *fs.Stat) int {
	clear(b[:])
	le.PutUint64(b[0:], st.Dev)
	le.PutUint64(b[8:], st.Ino)
	le.PutUint32(b[16:], st.Mode)
	le.PutUint32(b[20:], st.Nlink)
	le.PutUint32(b[24:], st.UID)
	le.PutUint32(b[28:], st.GID)
	le.PutUint64(b[32:], st.Rdev)
	le.PutUint64(b[48:], uint64(st.Size))
	le.PutUint32(b[56:], uint32(st.Blksize))
	putStatTail(b, st)
	return statSizeARM64
}

// putStatTail writes the common part from offset 64 on: blocks and three times.
func putStatTail(b *[statSizeAMD64]byte, st *fs.Stat) {
	le.PutUint64(b[64:], uint64(st.Blocks))
	for i, ns := range [3]int64{st.Atime, st.Mtime, st.Ctime} {
		ts := timespecOf(ns)
		le.PutUint64(b[72+16*i:], uint64(ts.Sec))
		le.PutUint64(b[80+16*i:], uint64(ts.Nsec))
	}
}

// struct epoll_event is packed only on amd64 (epoll_ctl(2); EPOLL_PACKED).
const (
	epollSizeAMD64 = 12
	epollSizeARM64 = 16
)

func putEpollEvent(b []byte, size int, ev fs.EpollEvent) {
	le.PutUint32(b, ev.Events)
	if size == epollSizeARM64 {
		le.PutUint32(b[4:], 0)
	}
	le.PutUint64(b[size-8:], ev.Data)
}

func getEpollEvent(b []byte, size int) fs.EpollEvent {
	return fs.EpollEvent{Events: le.Uint32(b), Data: le.Uint64(b[size-8:])}
}

// statx is struct statx (statx(2)), and sysinfo is struct sysinfo (sysinfo(2)). Their
// padding has names, unlike that in golang.org/x/sys/unix, so that it is cleared.
type statx struct {
	Mask, Blksize                      uint32
	Attributes                         uint64
	Nlink, UID, GID                    uint32
	Mode, pad                          uint16
	Ino, Size, Blocks, AttributesMask  uint64
	Atime, Btime, Ctime, Mtime         statxTime
	RdevMajor, RdevMinor               uint32
	DevMajor, DevMinor                 uint32
	MountID                            uint64
	DirectMemoryAlign, DirectFileAlign uint32
	spare                              [12]uint64
}

type statxTime struct {
	Sec  int64
	Nsec uint32
	pad  int32
}

type sysinfo struct {
	Uptime                                  int64
	Loads                                   [3]uint64
	TotalRAM, FreeRAM, SharedRAM, BufferRAM uint64
	TotalSwap, FreeSwap                     uint64
	Procs, pad                              uint16
	pad2                                    uint32
	TotalHigh, FreeHigh                     uint64
	Unit, pad3                              uint32
}
