package fs

import (
	"bytes"
	"fmt"
)

// hertz is USER_HZ: the unit of times in /proc/PID/stat, on both architectures.
const hertz = 100

// ticks turns nanoseconds into units of 1/hertz seconds.
func ticks(ns int64) int64 { return ns / (1e9 / hertz) }

// statText is /proc/PID/stat: 52 fields (proc_pid_stat(5)). Fields that have no
// meaning here are 0, as Linux shows them to those who may not see them.
func statText(i *ProcInfo) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d (%s) %c %d %d %d", i.TID, i.Name, i.State, i.PPID, i.PGID, i.SID) // 1-6
	b.WriteString(" 0 -1 0")                                                              // tty_nr tpgid flags
	fmt.Fprintf(&b, " %d 0 %d 0", i.MinFlt, i.MajFlt)                                     // 10-13
	fmt.Fprintf(&b, " %d %d 0 0", ticks(i.UTime), ticks(i.STime))                         // 14-17
	fmt.Fprintf(&b, " 20 0 %d 0 %d", len(i.Threads), ticks(i.Start))                      // 18-22
	fmt.Fprintf(&b, " %d %d %d", i.Mem.VSize, i.Mem.RSS/4096, uint64(1<<64-1))            // 23-25
	fmt.Fprintf(&b, " 0 0 %d 0 0", i.Frame.StackStart)                                    // 26-30
	fmt.Fprintf(&b, " %d %d %d %d", i.Pending, i.Blocked, i.Ignored, i.Caught)            // 31-34
	b.WriteString(" 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0")                                  // 35-51
	fmt.Fprintf(&b, " %d\n", i.Status)                                                    // 52
	return b.Bytes()
}

// statmText is /proc/PID/statm, in pages: size resident shared text lib data dt.
// Shared pages are not counted apart.
func statmText(i *ProcInfo) []byte {
	m := &i.Mem
	return fmt.Appendf(nil, "%d %d 0 %d 0 %d 0\n", m.VSize/4096, m.RSS/4096, m.Exec/4096, m.Data/4096)
}

var stateNames = map[byte]string{
	'R': "running", 'S': "sleeping", 'D': "disk sleep", 'T': "stopped", 'Z': "zombie", 'X': "dead",
}

// statusText is /proc/PID/status. A zombie has no Vm lines: it has no memory.
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
	fmt.Fprintf(&b, "Uid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\nGid:\t%[2]d\t%[2]d\t%[2]d\t%[2]d\n", i.UID, i.GID)
	if i.Files != nil {
		fmt.Fprintf(&b, "FDSize:\t%d\n", i.Files.size())
	}
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
	return b.Bytes()
}
