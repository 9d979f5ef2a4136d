package main

import (
	"strings"
	"testing"
)

func TestTimeline(t *testing.T) {
	const text = "# pid step context ns pages tables cpu\n" +
		"7 exit1 thread 1000 0 0 0\n8 exit1 thread 1100 0 0 0\n7 purge thread 2000 0 0 1\n7 purged thread 9000 4096 9 1\n7 wait parent 11000 0 0 0\n"
	steps, err := parseExits(text, 7)
	if err != nil || len(steps) != 4 {
		t.Fatalf("%d steps, %v; want 4", len(steps), err)
	}
	var b strings.Builder
	draw(&b, steps)
	for _, want := range []string{"0.0 us  exit1", "8.0 us  purged", "4096 pages, 9 table pages", "10.0 us  wait"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if _, err := parseExits(text, 9); err == nil {
		t.Error("a pid without steps is no error")
	}
	if _, err := parseExits("7 exit1 thread x 0 0\n", 7); err == nil {
		t.Error("a malformed line is no error")
	}
}
