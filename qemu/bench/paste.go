package bench

import (
	"fmt"
	"os"
	"strings"
)

// Paste replaces what stands in a text file between the marks of a command,
// "<!-- COMMAND -->" and "<!-- end of COMMAND -->", each on a line of its own.
// Errors are the file's, and that a mark is missing.
func Paste(file, command, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := "<!-- "+command+" -->\n", "<!-- end of "+command+" -->\n"
	head, rest, ok := strings.Cut(string(old), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return fmt.Errorf("%s: no lines %q and %q", file, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return os.WriteFile(file, []byte(head+begin+"\n"+strings.TrimSpace(text)+"\n\n"+end+tail), 0o644)
}
