package selftest

import (
	"fmt"
	"time"
)

// runSoak runs a mixed load on all CPUs for the time in soak=: processes, programs,
// threads, memory, files, signals and kills (user/utest). A problem in a worker ends it
// with a reason. Afterwards nothing may be left.
func runSoak(e *Env) {
	if e.Soak == 0 {
		return
	}
	c := test{name: "soak/mixed", run: func(t *T) { t.soak(e.Soak, e.Seed) }}
	if e.selected(c) {
		e.runOne(c, e.Layout, e.Design)
	}
}

func (t *T) soak(d time.Duration, seed uint64) {
	p, err := t.Exec(testProgram, []string{"helper-soak", fmt.Sprint(int(d / time.Second)), fmt.Sprint(seed)}, t.Layout, t.Design)
	t.check("start", err)
	if st := p.Wait().Status; st != 0 {
		t.Errorf("%s", statusText(st))
	}
}
