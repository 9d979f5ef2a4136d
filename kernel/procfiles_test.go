package kernel

import (
	"fmt"
	"runtime"
	"testing"

	"grim/arch"
)

func TestProcFiles(t *testing.T) {
	for _, c := range []struct{ name, got, want string }{
		{"version", string(versionText("6.1.0", "go1.26")), "Linux version 6.1.0 (grim) (go1.26)\n"},
		{"uptime", string(uptimeText(61_234_567_890)), "61.23 0.00\n"},
		{"cpuinfo", string(cpuinfoText("Fast, 1 MHz", 1)), "processor\t: 0\nmodel name\t: Fast, 1 MHz\n\n"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.name, c.got, c.want)
		}
	}
}

// TestHeapText checks that two readings of /proc/heap, each after a collection, differ by
// the memory that was allocated between them and is still reachable, and that a reading
// alone collects no garbage.
//
// Broken by: collectHeap without its collections; a collection in heapText.
func TestHeapText(t *testing.T) {
	read := func() (live, objects, stacks int) {
		if err := collectHeap("collect"); err != nil {
			t.Fatal(err)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		cycles := m.NumGC
		defer func() {
			if runtime.ReadMemStats(&m); m.NumGC != cycles {
				t.Error("reading collected garbage")
			}
		}()
		if _, err := fmt.Sscanf(string(heapText()), "live %d\nobjects %d\nstacks %d\n", &live, &objects, &stacks); err != nil {
			t.Fatal(err)
		}
		return live, objects, stacks
	}
	const size = 8 << 20
	before, _, stacks := read()
	held := make([]byte, size)
	for range 8 {
		_ = make([]byte, size) // is gone by the second reading
	}
	after, objects, _ := read()
	runtime.KeepAlive(held)
	if d := after - before; d < size || d > size+size/2 || objects == 0 || stacks == 0 {
		t.Errorf("the heap grew by %d with %d held, %d objects, %d of stacks", d, size, objects, stacks)
	}
}

// TestInterruptsText checks that the text has a column for each CPU and a line for each
// kind of interrupt.
//
// Broken by: the count of one kind in the line of another kind.
func TestInterruptsText(t *testing.T) {
	const want = "            CPU0       CPU1\n" +
		" NMI:          0          0   Non-maskable interrupts\n" +
		" LOC:          7         21   Local timer interrupts\n" +
		" RES:          0         40   Rescheduling interrupts\n" +
		" TLB:          3          0   TLB shootdowns\n"
	if got := string(interruptsText([]arch.Counts{{Timer: 7, Shoot: 3}, {Timer: 21, Wake: 40}})); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
