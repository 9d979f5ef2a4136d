package selftest

import (
	"slices"
	"strings"
)

// selection is the value of the kernel argument selftest=: words separated by commas. "all"
// takes every test, "quick" those that are not slow, any other word the tests with that word
// in their name. A word after a minus sign leaves out the tests with it in their name. A
// selection that only leaves out takes all others.
type selection string

// words returns the words that take tests, and those that leave tests out.
func (s selection) words() (take, leave []string) {
	for w := range strings.SplitSeq(string(s), ",") {
		if name, out := strings.CutPrefix(w, "-"); out {
			leave = append(leave, name)
		} else {
			take = append(take, w)
		}
	}
	if take == nil {
		take = []string{"all"}
	}
	return take, leave
}

// takes reports whether the test of that name is to run.
func (s selection) takes(name string, slow bool) bool {
	take, leave := s.words()
	in := func(word string) bool { return strings.Contains(name, word) }
	if slices.ContainsFunc(leave, in) {
		return false
	}
	return slices.Contains(take, "all") || !slow && slices.Contains(take, "quick") || slices.ContainsFunc(take, in)
}
