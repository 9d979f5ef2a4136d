package kernel

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"grim/kernel/sys"
)

// shownUnknown is how many calls are named. A test that tries every number would fill the
// screen.
const shownUnknown = 12

// unknownText returns one line with the unknown system calls of programs, the most frequent
// first. It is empty if there were none.
func unknownText(calls []sys.Unknown) string {
	calls = slices.Clone(calls)
	slices.SortStableFunc(calls, func(a, b sys.Unknown) int { return cmp.Compare(b.Count, a.Count) })
	var items []string
	for i, c := range calls {
		if i == shownUnknown {
			items = append(items, fmt.Sprintf("and %d more", len(calls)-i))
			break
		}
		name := fmt.Sprint(c.Number)
		switch {
		case c.Number < 0:
			name = "out of range"
		case c.Name != "":
			name = c.Name
		}
		items = append(items, fmt.Sprintf("%s (%d)", name, c.Count))
	}
	if items == nil {
		return ""
	}
	return "unknown system calls, with how often: " + strings.Join(items, ", ")
}
