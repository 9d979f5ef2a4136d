package kernel

import (
	"fmt"
	"runtime"
	"syscall"

	"grim/arch"
	"grim/proc"
)

// The machine's own texts in /proc (proc(5)).

// versionText returns /proc/version.
func versionText(release, goVersion string) []byte {
	return fmt.Appendf(nil, "Linux version %s (grim) (%s)\n", release, goVersion)
}

// randomizeText returns /proc/sys/kernel/randomize_va_space: 2 if all addresses are random,
// including the heap, or 0. It cannot be written: aslr= decides.
func randomizeText(on bool) []byte {
	if on {
		return []byte("2\n")
	}
	return []byte("0\n")
}

// uptimeText returns /proc/uptime: seconds since start. Idle time is not counted.
func uptimeText(ns int64) []byte {
	return fmt.Appendf(nil, "%d.%02d 0.00\n", ns/1e9, ns%1e9/1e7)
}

// cpuinfoText returns /proc/cpuinfo.
func cpuinfoText(cpu string, cpus int) (b []byte) {
	for i := range cpus {
		b = fmt.Appendf(b, "processor\t: %d\nmodel name\t: %s\n\n", i, cpu)
	}
	return b
}

// statText returns /proc/stat, in hundredths of a second. The system time of a single CPU
// is not known: it is shown as the same part of the time of all CPUs.
func statText(t proc.Totals, cpus int, uptime, now int64) []byte {
	const tick = 1e7
	user, system := t.UserTime/tick, t.SystemTime/tick
	idle := max(uptime*int64(cpus)/tick-user-system, 0)
	b := fmt.Appendf(nil, "cpu  %d 0 %d %d 0 0 0 0 0 0\n", user, system, idle)
	for i := range cpus {
		if t.Busy != nil {
			busy := t.Busy[i] / tick
			system = busy * (t.SystemTime / tick) / max((t.UserTime+t.SystemTime)/tick, 1)
			user, idle = busy-system, max(uptime/tick-busy, 0)
		}
		b = fmt.Appendf(b, "cpu%d %d 0 %d %d 0 0 0 0 0 0\n", i, user, system, idle)
	}
	return fmt.Appendf(b, "intr 0\nctxt %d\nbtime %d\nprocesses %d\nprocs_running %d\nprocs_blocked 0\nsoftirq 0\n",
		t.Switches, now-uptime/1e9, t.Forks, max(t.Running, 1))
}

// loadText returns /proc/loadavg. The load is not measured: all three values show how many
// threads are ready now.
func loadText(t proc.Totals) []byte {
	return fmt.Appendf(nil, "%[1]d.00 %[1]d.00 %[1]d.00 %[2]d/%[3]d %[4]d\n", max(t.Running-1, 0), max(t.Running, 1), t.Threads, t.LastPID)
}

// vmstatText returns the part of /proc/vmstat that has a meaning here.
func vmstatText(t proc.Totals, free int) []byte {
	return fmt.Appendf(nil, "nr_free_pages %d\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault %d\npgmajfault 0\noom_kill %d\n",
		free, t.Faults, t.OOMKills)
}

// interruptsText returns /proc/interrupts, with x86's names. Interrupts of devices are not
// counted.
func interruptsText(cpus []arch.Counts) []byte {
	b := []byte("     ")
	for i := range cpus {
		b = fmt.Appendf(b, " %10s", fmt.Sprintf("CPU%d", i))
	}
	b = append(b, '\n')
	for _, k := range []struct {
		name, text string
		of         func(*arch.Counts) uint64
	}{
		{"NMI", "Non-maskable interrupts", func(c *arch.Counts) uint64 { return c.NMI }},
		{"LOC", "Local timer interrupts", func(c *arch.Counts) uint64 { return c.Timer }},
		{"RES", "Rescheduling interrupts", func(c *arch.Counts) uint64 { return c.Wake }},
		{"TLB", "TLB shootdowns", func(c *arch.Counts) uint64 { return c.Shoot }},
	} {
		b = fmt.Appendf(b, " %s:", k.name)
		for i := range cpus {
			b = fmt.Appendf(b, " %10d", k.of(&cpus[i]))
		}
		b = fmt.Appendf(b, "   %s\n", k.text)
	}
	return b
}

// rangeText returns a list of n CPUs in the form of /sys.
func rangeText(n int) []byte {
	if n == 1 {
		return []byte("0\n")
	}
	return fmt.Appendf(nil, "0-%d\n", n-1)
}

// heapText returns /proc/heap, which other systems do not have: the size of the kernel's
// own objects in bytes, including garbage that is not collected yet.
func heapText() []byte {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return fmt.Appendf(nil, "live %d\nobjects %d\nstacks %d\n", m.HeapAlloc, m.HeapObjects, m.StackInuse)
}

// collectHeap is called when root writes "collect" to /proc/heap. Two readings after it
// differ by the objects that were made in between and stay. It takes some milliseconds.
func collectHeap(value string) error {
	if value != "collect" {
		return syscall.EINVAL
	}
	// The contents of a sync.Pool survive the first collection.
	runtime.GC()
	runtime.GC()
	return nil
}
