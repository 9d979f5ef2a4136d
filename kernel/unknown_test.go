package kernel

import (
	"strings"
	"testing"

	"grim/kernel/sys"
)

func TestUnknownText(t *testing.T) {
	if got := unknownText(nil); got != "" {
		t.Errorf("none: %q", got)
	}
	got := unknownText([]sys.Unknown{{Number: 415, Count: 2}, {Number: 425, Name: "io_uring_setup", Count: 1}, {Number: -1, Count: 9}})
	want := "unknown system calls, with how often: out of range (9), 415 (2), io_uring_setup (1)"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := unknownText(make([]sys.Unknown, shownUnknown+3)); !strings.HasSuffix(got, ", and 3 more") {
		t.Errorf("many: %q", got)
	}
}
