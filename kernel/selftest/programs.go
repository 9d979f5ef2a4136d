package selftest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"grim/kernel/fs"
	"grim/proc"
	"grim/proc/exit"
)

// testProgram contains the user-mode tests. Lists of their names are beside it.
const testProgram = "/bin/utest"

// runPrograms runs the user-mode tests, each in a process of its own. The exit status is
// the result. The console shows the reason of a failure.
func runPrograms(e *Env) {
	text, err := e.readFile("/tests/list")
	quick, err2 := e.readFile("/tests/quick")
	if err = cmp.Or(err, err2); err != nil {
		e.Report.Result("program", []string{fmt.Sprintf("/tests: %v", err)})
		return
	}
	quickNames := strings.Fields(string(quick))
	for name := range strings.Lines(string(text)) {
		name = strings.TrimSuffix(name, "\n")
		c := test{name: "program/" + name, run: func(t *T) { t.program(name) }, guards: programGuards[name],
			slow: !slices.Contains(quickNames, name)}
		if e.selected(c) {
			e.runOne(c, e.Layout, e.Design)
		}
	}
}

// programGuards are the user-mode tests that cannot pass under a design that breaks an
// invariant.
var programGuards = map[string]exit.Invariant{"thread-churn": exit.E5}

// program runs one user-mode test.
func (t *T) program(name string) {
	p, err := t.Exec(testProgram, []string{name}, t.Layout, t.Design)
	t.check("start", err)
	st := p.Wait().Status
	if st == 0 {
		return
	}
	if t.Design.Breach(programGuards[name]) != nil {
		t.Brokenf(programGuards[name], "%s: the program ends with %s", t.Design.Breach(programGuards[name]).Reason, statusText(st))
		return
	}
	t.Errorf("%s", statusText(st))
}

// statusText describes how a process ended.
func statusText(st proc.Status) string {
	if st.Signaled() {
		return "killed by " + unix.SignalName(st.Signal())
	}
	return fmt.Sprint("exit status ", st.ExitStatus())
}

// readFile reads a small file of the root file system.
func (e *Env) readFile(path string) ([]byte, error) {
	f, err := e.FS.Open(fs.At{Place: e.FS.NewPlace()}, path, syscall.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Release()
	b := make([]byte, 64<<10)
	n, err := f.Pread(nil, b, 0)
	return b[:n], err
}
