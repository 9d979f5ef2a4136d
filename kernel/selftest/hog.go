package selftest

import (
	"fmt"
	"strings"
)

// hogProgram makes the kernel hold as many objects of one kind as it will.
const hogProgram = "/bin/hog"

// quickHogs are in the quick set: one that uses the heap, one that uses frames.
var quickHogs = []string{"threads", "pipes"}

// runHogs runs user/hog once for each kind of object. A process of one user takes objects
// until the kernel refuses. In the meantime others must be able to work. Afterwards nothing
// may be left.
// Broken by: a kind without a charge, which ends the machine ("out of memory").
func runHogs(e *Env) {
	text, err := e.readFile("/tests/hog")
	if err != nil {
		e.Report.Result("hog", []string{fmt.Sprintf("/tests/hog: %v", err)})
		return
	}
	for kind := range strings.Lines(string(text)) {
		kind = strings.TrimSuffix(kind, "\n")
		c := test{name: "hog/" + kind, run: func(t *T) { t.hog(kind) }, slow: true}
		for _, quick := range quickHogs {
			c.slow = c.slow && kind != quick
		}
		if e.selected(c) {
			e.runOne(c, e.Layout, e.Design)
		}
	}
}

func (t *T) hog(kind string) {
	p, err := t.Exec(hogProgram, []string{kind}, t.Layout, t.Design)
	t.check("start", err)
	if st := p.Wait().Status; st != 0 {
		t.Errorf("%s", statusText(st))
	}
}
