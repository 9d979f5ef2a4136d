package selftest

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

var consoleTests = []test{
	{name: "console/slow", run: consoleSlow, slow: true},
}

// consoleSlow: a program writes much more than the console's ring and the port hold, and
// sleeps while the port is not ready; others run meanwhile as if there were no output. The
// port tells by its transmit interrupt when it goes on.
//
// An emulator's port is always ready unless whoever reads its output is slow: qemu.Config's
// SlowReader is, between the two lines that this test prints. Without it nothing is judged.
// Broken by: Await that does not allow the interrupt.
func consoleSlow(t *T) {
	const size, writes = 4096, 48
	line := []byte("# console/slow: " + string(bytes.Repeat([]byte{'.'}, 47)) + "\n")
	var flood, small program
	const path = dataVA + size
	flood.call(unix.SYS_OPENAT, 0, uint64(path), unix.O_WRONLY, 0) // descriptor 0
	flood.times(0, writes, func(p *program) { p.call(unix.SYS_WRITE, 0, uint64(dataVA), size) })
	flood.exit(0)
	small.touch(dataVA, page, 4)
	small.exit(0)
	space := t.space(&flood)
	t.mapped(space, dataVA, 2*size)
	t.check("copyout", space.CopyOut(path, []byte("/dev/console\x00")))
	t.check("copyout", space.CopyOut(dataVA, bytes.Repeat(line, size/len(line))))
	told, late := t.ConsoleWaits()
	fmt.Println("# console/slow: begin")
	writer := t.start(space)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if st := writer.Wait().Status; st != 0 {
			t.Errorf("the writer: %s", statusText(st))
		}
	}()
	others, longest := 0, int64(0)
	for writing := true; writing; {
		begin := t.Proc.Now()
		vs := t.space(&small)
		t.mapped(vs, dataVA, 4*page)
		t.passes("a process beside the writer", vs)
		longest = max(longest, t.Proc.Now()-begin)
		others++
		select {
		case <-done:
			writing = false
		default:
			time.Sleep(time.Millisecond)
		}
	}
	fmt.Println("# console/slow: end")
	toldNow, lateNow := t.ConsoleWaits()
	told, late = toldNow-told, lateNow-late
	fmt.Printf("# console/slow: %d transmit interrupts, %d waits without one; %d processes ran beside it, the slowest for %d us\n",
		told, late, others, longest/1000)
	if told+late == 0 {
		return // the port was always ready
	}
	if told == 0 {
		t.Errorf("the port never told that there was room")
	}
	if others < 10 {
		t.Errorf("%d processes ran while the port was slow", others)
	}
	if t.Virtual && longest > int64(5*time.Millisecond) {
		t.Errorf("a process took %d us beside the writer", longest/1000)
	}
}
