//go:build tamago

package selftest

import (
	"runtime"
	"strings"

	"grim/arch"
	"grim/boot/overlay/cputest"
)

// runtimeTests are those of the scheduler on several CPUs.
func runtimeTests() (list []test) {
	for _, c := range cputest.Tests {
		list = append(list, test{name: "cpus/runtime-" + strings.ReplaceAll(c.Name, " ", "-"), run: func(t *T) {
			if runtime.NumCPU() == 1 {
				return
			}
			m := t.Machine.(interface{ Counts(n int) arch.Counts })
			cputest.Parallel = !t.Virtual
			cputest.Wakes = func() (all int64) {
				for n := range t.Machine.CPUs() {
					all += int64(m.Counts(n).Wake)
				}
				return all
			}
			t.check(c.Name, c.Run())
		}})
	}
	return list
}
