package qemu

import (
	"slices"
	"testing"
)

// CPUS applies to the machines whose number of CPUs can be chosen, and to no others: the
// model of a Raspberry Pi refuses any number except four.
func TestCPUs(t *testing.T) {
	for _, m := range Machines {
		if m.Board != nil && m.Board.Firmware != "" {
			continue // starts from a card that is not there
		}
		smp := func(cpus int) string {
			args := (&Config{Machine: m, Memory: "256M", CPUs: cpus}).Command()
			if i := slices.Index(args, "-smp"); i >= 0 {
				return args[i+1]
			}
			return ""
		}
		one, four := "1", "4"
		if m.Name[:3] == "ras" {
			one, four = "", ""
		}
		if smp(0) != one || smp(4) != four {
			t.Errorf("%s: -smp %q by default, %q for four", m.Name, smp(0), smp(4))
		}
		if i := slices.Index(m.Args, "-smp"); i >= 0 && m.Args[i+1] != "1" {
			t.Errorf("%s: Command changed the machine's own arguments", m.Name)
		}
	}
}
