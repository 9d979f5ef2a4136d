package kernel

import (
	"fmt"
	"strings"

	"grim/kernel/sys"
)

// unknownText tells which system calls programs asked for in vain, in one line;
// empty if there were none.
func unknownText(calls []sys.Unknown) string {
	var items []string
	for _, c := range calls {
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
