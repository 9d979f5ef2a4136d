package tap

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	var b strings.Builder
	r := New(&b)
	r.Result("a", nil)
	r.Result("b", []string{"x\ny", "z"})
	if r.Close() {
		t.Error("Close says all passed after a failure")
	}
	want := "ok 1 - a\n# b: x\n# b: y\n# b: z\nnot ok 2 - b\n1 passed, 1 failed\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	b.Reset()
	if r = New(&b); !r.Close() || b.String() != "0 passed, 0 failed\n" {
		t.Errorf("an empty report closes with %q", b.String())
	}
}
