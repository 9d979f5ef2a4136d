package sys

import (
	"bytes"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"grim/kernel/fs"
)

var sampleStat = fs.Stat{
	Dev: 1, Ino: 2, Rdev: 3, Mode: 4, Nlink: 5, UID: 6, GID: 7, Size: 8, Blksize: 9, Blocks: 10,
	Atime: 11e9 + 12, Mtime: -1, Ctime: 15e9 + 16,
}

// On the host's architecture, the layout must be the layout of golang.org/x/sys/unix.
func TestStatHost(t *testing.T) {
	want := unix.Stat_t{Dev: 1, Ino: 2, Rdev: 3, Mode: 4, Nlink: 5, Uid: 6, Gid: 7, Size: 8, Blksize: 9, Blocks: 10,
		Atim: unix.Timespec{Sec: 11, Nsec: 12}, Mtim: unix.Timespec{Sec: -1, Nsec: 999999999}, Ctim: unix.Timespec{Sec: 15, Nsec: 16}}
	var b [statSizeAMD64]byte
	n := tables(t)[runtime.GOARCH].putStat(&b, &sampleStat)
	// Safety: Stat_t is plain memory.
	w := unsafe.Slice((*byte)(unsafe.Pointer(&want)), unsafe.Sizeof(want))
	if !bytes.Equal(b[:n], w) {
		t.Errorf("%x\nwant\n%x", b[:n], w)
	}
}

// The fields of both layouts, written by hand from Linux's headers: offset and width.
func TestStatFields(t *testing.T) {
	type field struct{ off, width, val int }
	tail := []field{{48, 8, 8}, {64, 8, 10}, {72, 8, 11}, {80, 8, 12}, {88, 8, -1}, {96, 8, 999999999}, {104, 8, 15}, {112, 8, 16}}
	for _, c := range []struct {
		arch   string
		size   int
		fields []field
	}{
		{"amd64", 144, append([]field{{0, 8, 1}, {8, 8, 2}, {16, 8, 5}, {24, 4, 4}, {28, 4, 6}, {32, 4, 7}, {40, 8, 3}, {56, 8, 9}}, tail...)},
		{"arm64", 128, append([]field{{0, 8, 1}, {8, 8, 2}, {16, 4, 4}, {20, 4, 5}, {24, 4, 6}, {28, 4, 7}, {32, 8, 3}, {56, 4, 9}}, tail...)},
	} {
		b := [statSizeAMD64]byte{0: 0xff, 127: 0xff} // the old contents must be cleared
		if n := tables(t)[c.arch].putStat(&b, &sampleStat); n != c.size {
			t.Errorf("%s: %d bytes", c.arch, n)
		}
		for _, f := range c.fields {
			got := int(int64(le.Uint64(append(b[f.off:f.off+f.width:f.off+f.width], make([]byte, 8)...))))
			if f.width == 8 {
				got = int(int64(le.Uint64(b[f.off:])))
			}
			if got != f.val {
				t.Errorf("%s at %d: %d, want %d", c.arch, f.off, got, f.val)
			}
			clear(b[f.off : f.off+f.width])
		}
		if b != [statSizeAMD64]byte{} {
			t.Errorf("%s: bytes that belong to no field: %x", c.arch, b)
		}
	}
}

func TestEpollEvent(t *testing.T) {
	ev := fs.EpollEvent{Events: 0x11223344, Data: 0x5566778899aabbcc}
	for size, data := range map[int]int{epollSizeAMD64: 4, epollSizeARM64: 8} {
		b := bytes.Repeat([]byte{0xff}, size)
		putEpollEvent(b, size, ev)
		if le.Uint32(b) != ev.Events || le.Uint64(b[data:]) != ev.Data || getEpollEvent(b, size) != ev {
			t.Errorf("%d bytes: %x", size, b)
		}
	}
	if runtime.GOARCH == "amd64" && unsafe.Sizeof(unix.EpollEvent{}) != epollSizeAMD64 {
		t.Errorf("the host's is %d bytes", unsafe.Sizeof(unix.EpollEvent{}))
	}
}

// Structures that are copied as Go lays them out must have the size of Linux's.
func TestSizes(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"timespec", unsafe.Sizeof(unix.Timespec{}), 16},
		{"timeval", unsafe.Sizeof(unix.Timeval{}), 16},
		{"itimerval", unsafe.Sizeof(itimerval{}), 32},
		{"itimerspec", unsafe.Sizeof(itimerspec{}), 32},
		{"rusage", unsafe.Sizeof(unix.Rusage{}), 144},
		{"sysinfo", unsafe.Sizeof(unix.Sysinfo_t{}), 112},
		{"utsname", unsafe.Sizeof(unix.Utsname{}), 390},
		{"statfs", unsafe.Sizeof(unix.Statfs_t{}), 120},
		{"statx", unsafe.Sizeof(unix.Statx_t{}), 256},
		{"stack_t", unsafe.Sizeof(sigStack{}), 24},
		{"sigaction", unsafe.Sizeof(userSigaction{}), 32},
		{"siginfo", unsafe.Sizeof(siginfo{}), 128},
		{"clone_args", unsafe.Sizeof(cloneArgs{}), 88},
		{"open_how", unsafe.Sizeof(unix.OpenHow{}), 24},
		{"cap data", unsafe.Sizeof([2]unix.CapUserData{}), 24},
	} {
		if c.got != c.want {
			t.Errorf("%s has %d bytes, want %d", c.name, c.got, c.want)
		}
	}
}

func TestTimes(t *testing.T) {
	for _, c := range []struct {
		ts   unix.Timespec
		want int64
		bad  bool
	}{
		{unix.Timespec{}, 0, false},
		{unix.Timespec{Sec: 1, Nsec: 5}, 1000000005, false},
		{unix.Timespec{Sec: -1}, 0, true},
		{unix.Timespec{Nsec: -1}, 0, true},
		{unix.Timespec{Nsec: second}, 0, true},
		{unix.Timespec{Sec: 1 << 62}, 1<<63 - 1, false},
	} {
		got, err := nanoseconds(c.ts)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%+v: %d, %v", c.ts, got, err)
		}
	}
	if addTime(5, 1<<63-1) != 1<<63-1 || addTime(5, 6) != 11 {
		t.Error("addTime")
	}
}

// statx and sysinfo have the layout of golang.org/x/sys/unix.
func TestNamedPadding(t *testing.T) {
	var (
		a statx
		b unix.Statx_t
		c sysinfo
		d unix.Sysinfo_t
	)
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"stx_attributes", unsafe.Offsetof(a.Attributes), unsafe.Offsetof(b.Attributes)},
		{"stx_mode", unsafe.Offsetof(a.Mode), unsafe.Offsetof(b.Mode)},
		{"stx_ino", unsafe.Offsetof(a.Ino), unsafe.Offsetof(b.Ino)},
		{"stx_attributes_mask", unsafe.Offsetof(a.AttributesMask), unsafe.Offsetof(b.Attributes_mask)},
		{"stx_mtime", unsafe.Offsetof(a.Mtime), unsafe.Offsetof(b.Mtime)},
		{"tv_nsec", unsafe.Offsetof(a.Mtime.Nsec), unsafe.Offsetof(b.Mtime.Nsec)},
		{"stx_dev_minor", unsafe.Offsetof(a.DevMinor), unsafe.Offsetof(b.Dev_minor)},
		{"stx_mnt_id", unsafe.Offsetof(a.MountID), unsafe.Offsetof(b.Mnt_id)},
		{"struct statx", unsafe.Sizeof(a), unsafe.Sizeof(b)},
		{"totalram", unsafe.Offsetof(c.TotalRAM), unsafe.Offsetof(d.Totalram)},
		{"procs", unsafe.Offsetof(c.Procs), unsafe.Offsetof(d.Procs)},
		{"totalhigh", unsafe.Offsetof(c.TotalHigh), unsafe.Offsetof(d.Totalhigh)},
		{"mem_unit", unsafe.Offsetof(c.Unit), unsafe.Offsetof(d.Unit)},
		{"struct sysinfo", unsafe.Sizeof(c), unsafe.Sizeof(d)},
	} {
		if f.got != f.want {
			t.Errorf("%s: %d, want %d", f.name, f.got, f.want)
		}
	}
}
