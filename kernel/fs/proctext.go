package fs

import (
	"bytes"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"syscall"

	"grim/proc/cred"
)

// hertz is USER_HZ: the unit of times in /proc/PID/stat, on both architectures.
const hertz = 100

// ticks converts nanoseconds to units of 1/hertz seconds.
func ticks(ns int64) int64 { return ns / (1e9 / hertz) }

// statText returns /proc/PID/stat: 52 fields (proc_pid_stat(5)). Fields that have no
// meaning here are 0. So are addresses, which Linux shows only to processes that may look
// into this one.
func statText(i *ProcInfo) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d (%s) %c %d %d %d", i.TID, i.Name, i.State, i.PPID, i.PGID, i.SID) // 1-6
	fmt.Fprintf(&b, " %d %d 4194304", i.TTY, i.TTYGroup)                                  // 7-9: tty_nr tpgid flags
	fmt.Fprintf(&b, " %d 0 %d 0", i.MinFlt, i.MajFlt)                                     // 10-13
	fmt.Fprintf(&b, " %d %d 0 0", ticks(i.UTime), ticks(i.STime))                         // 14-17
	fmt.Fprintf(&b, " %d %d %d 0 %d", 20+i.Nice, i.Nice, len(i.Threads), ticks(i.Start))  // 18-22
	fmt.Fprintf(&b, " %d %d %d", i.Mem.VSize, i.Mem.RSS/4096, i.Limits[rlimitRSS][0])     // 23-25
	fmt.Fprintf(&b, " 0 0 %d 0 0", i.Frame.StackStart)                                    // 26-30
	fmt.Fprintf(&b, " %d %d %d %d", i.Pending, i.Blocked, i.Ignored, i.Caught)            // 31-34
	fmt.Fprintf(&b, " 0 0 0 %d 0 0 0 0 0 0 0 0 0 0 0 0 0", i.ExitSignal)                  // 35-51
	fmt.Fprintf(&b, " %d\n", i.Status)                                                    // 52
	return b.Bytes()
}

// rlimitRSS is RLIMIT_RSS.
const rlimitRSS = 5

// limitNames has the lines of /proc/PID/limits, by RLIMIT_ number, with their units.
var limitNames = [16][2]string{
	{"Max cpu time", "seconds"}, {"Max file size", "bytes"}, {"Max data size", "bytes"}, {"Max stack size", "bytes"},
	{"Max core file size", "bytes"}, {"Max resident set", "bytes"}, {"Max processes", "processes"},
	{"Max open files", "files"}, {"Max locked memory", "bytes"}, {"Max address space", "bytes"},
	{"Max file locks", "locks"}, {"Max pending signals", "signals"}, {"Max msgqueue size", "bytes"},
	{"Max nice priority", ""}, {"Max realtime priority", ""}, {"Max realtime timeout", "us"},
}

// limitsText returns /proc/PID/limits.
func limitsText(i *ProcInfo) []byte {
	word := func(n uint64) string {
		if n == 1<<64-1 {
			return "unlimited"
		}
		return strconv.FormatUint(n, 10)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units")
	for n, l := range i.Limits {
		fmt.Fprintf(&b, "%-25s %-20s %-20s", limitNames[n][0], word(l[0]), word(l[1]))
		if limitNames[n][1] != "" {
			fmt.Fprintf(&b, " %-10s", limitNames[n][1])
		}
		b.WriteByte('\n')
		if n&1 == 1 { // 7 000 instructions
			i.yield()
		}
	}
	return b.Bytes()
}

// yield lets others run while a long text is made.
func (i *ProcInfo) yield() {
	if i.fs != nil {
		i.fs.cfg.Yield()
	}
}

// statmText returns /proc/PID/statm, in pages: size resident shared text lib data dt.
// Shared pages are not counted separately.
func statmText(i *ProcInfo) []byte {
	m := &i.Mem
	return fmt.Appendf(nil, "%d %d 0 %d 0 %d 0\n", m.VSize/4096, m.RSS/4096, m.Exec/4096, m.Data/4096)
}

var stateNames = map[byte]string{
	'R': "running", 'S': "sleeping", 'D': "disk sleep", 'T': "stopped", 'Z': "zombie", 'X': "dead",
}

// statusText returns /proc/PID/status. A zombie has no Vm lines, as it has no memory.
func statusText(i *ProcInfo) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Name:\t%s\n", i.Name)
	if i.Place != nil {
		i.Place.mu.Lock()
		fmt.Fprintf(&b, "Umask:\t%04o\n", i.Place.umask)
		i.Place.mu.Unlock()
	}
	fmt.Fprintf(&b, "State:\t%c (%s)\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n",
		i.State, stateNames[i.State], i.PID, i.TID, i.PPID)
	c := i.Cred
	if c == nil {
		c = &cred.Cred{}
	}
	fmt.Fprintf(&b, "Uid:\t%d\t%d\t%d\t%d\nGid:\t%d\t%d\t%d\t%d\n",
		c.UID, c.EUID, c.SUID, c.FSUID, c.GID, c.EGID, c.SGID, c.FSGID)
	if i.Files != nil {
		fmt.Fprintf(&b, "FDSize:\t%d\n", i.Files.size())
	}
	b.WriteString("Groups:\t")
	for k, g := range c.Groups.IDs() { // setgroups(2) takes 65 536
		b.Write(append(strconv.AppendUint(b.AvailableBuffer(), uint64(g), 10), ' '))
		if k&63 == 63 {
			i.yield()
		}
	}
	fmt.Fprintf(&b, "\nNStgid:\t%d\nNSpid:\t%d\nNSpgid:\t%d\nNSsid:\t%d\n", i.PID, i.TID, i.PGID, i.SID)
	i.yield()
	if m := &i.Mem; i.Maps != nil {
		for _, l := range []struct {
			name  string
			bytes uint64
		}{
			{"VmPeak", m.PeakVSize}, {"VmSize", m.VSize}, {"VmLck", m.Locked},
			{"VmHWM", m.PeakRSS}, {"VmRSS", m.RSS}, {"VmData", m.Data}, {"VmStk", m.Stack},
			{"VmExe", m.Exec}, {"VmPTE", m.Tables}, {"VmSwap", 0},
		} {
			fmt.Fprintf(&b, "%s:\t%8d kB\n", l.name, l.bytes/1024)
		}
	}
	fmt.Fprintf(&b, "KernelMem:\t%8d kB\n", i.Charged/1024)
	fmt.Fprintf(&b, "Threads:\t%d\n", len(i.Threads))
	fmt.Fprintf(&b, "SigPnd:\t%016x\nShdPnd:\t%016x\nSigBlk:\t%016x\nSigIgn:\t%016x\nSigCgt:\t%016x\n",
		i.Pending, 0, i.Blocked, i.Ignored, i.Caught)
	noNew := 0
	if i.NoNewPrivs {
		noNew = 1
	}
	fmt.Fprintf(&b, "CapInh:\t%016x\nCapPrm:\t%016x\nCapEff:\t%016x\nCapBnd:\t%016x\nCapAmb:\t%016x\nNoNewPrivs:\t%d\nSeccomp:\t0\n",
		c.Inheritable, c.Permitted, c.Effective, c.Bounding, c.Ambient, noNew)
	fmt.Fprintf(&b, "Cpus_allowed:\t%x\nCpus_allowed_list:\t%s\nMems_allowed:\t1\nMems_allowed_list:\t0\n", i.CPUs, setText(i.CPUs))
	fmt.Fprintf(&b, "voluntary_ctxt_switches:\t%d\nnonvoluntary_ctxt_switches:\t%d\n", i.Switches[0], i.Switches[1])
	return b.Bytes()
}

// setText returns a set of numbers as a list, such as "0-2,5".
func setText(set uint64) string {
	var parts []string
	for set != 0 {
		lo := bits.TrailingZeros64(set)
		n := bits.TrailingZeros64(^(set >> lo)) // how many follow each other
		if n == 1 {
			parts = append(parts, strconv.Itoa(lo))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", lo, lo+n-1))
		}
		set &^= (1<<n - 1) << lo
	}
	return strings.Join(parts, ",")
}

// mounts and mountinfo return /proc/PID/mounts and /proc/PID/mountinfo.
func mounts(i *ProcInfo) (text []byte) {
	for _, m := range i.fs.mountList() {
		text = fmt.Appendf(text, "%s %s %s %s,relatime 0 0\n", m.source, m.path, m.kind, m.how)
	}
	return text
}

func mountinfo(i *ProcInfo) (text []byte) {
	for _, m := range i.fs.mountList() {
		parent := i.fs.root.dev
		if m.path == "/" {
			parent = 0
		}
		text = fmt.Appendf(text, "%d %d %d:%d / %s %s,relatime - %s %s %s\n", m.dev, parent, m.dev>>8, m.dev&0xff, m.path, m.how, m.kind, m.source, m.how)
	}
	return text
}

// netText is a file of /proc/PID/net.
type netText struct {
	name string
	gen  func() []byte
}

// NetText makes /proc/net/name, or replaces it. It must be called at start-up.
func (s *FS) NetText(name string, gen func() []byte) {
	for i := range s.netTexts {
		if s.netTexts[i].name == name {
			s.netTexts[i].gen = gen
			return
		}
	}
	s.netTexts = append(s.netTexts, netText{name, gen})
}

// firstNetTexts makes the files of a machine without network devices.
func (s *FS) firstNetTexts() {
	for _, x := range [...][2]string{
		{"dev", "Inter-|   Receive                                                |  Transmit\n" +
			" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"},
		{"route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"},
		{"protocols", "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re sp bi br ha uh gp em\n"},
		{"sockstat", "sockets: used 0\n"},
	} {
		text := []byte(x[1])
		s.NetText(x[0], func() []byte { return text })
	}
	s.NetText("unix", s.unixText)
}

// netKids returns the entries of /proc/PID/net.
func (s *FS) netKids() (kids []kid) {
	for n, x := range s.netTexts {
		kids = append(kids, kid{name: x.name, typ: syscall.S_IFREG, perm: 0o444, cookie: cookieDots + 1 + int64(n),
			text: func() ([]byte, error) { return x.gen(), nil }})
	}
	return kids
}

// info returns /proc/PID/fdinfo/FD: offset, flags, the mount, the inode.
func (f *File) info(cloexec bool) []byte {
	f.posMu.Lock()
	pos := f.pos
	f.posMu.Unlock()
	flags := f.ShownFlags()
	if cloexec {
		flags |= syscall.O_CLOEXEC
	}
	return fmt.Appendf(nil, "pos:\t%d\nflags:\t0%o\nmnt_id:\t%d\nino:\t%d\n", pos, flags, f.node.base().dev, f.node.base().ino)
}
