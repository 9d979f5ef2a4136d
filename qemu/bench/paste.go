package bench

import (
	"fmt"
	"os"
	"strings"
)

// Paste replaces the text in a file between the marks of a command, "<!-- COMMAND -->" and
// "<!-- end of COMMAND -->", each on its own line. It returns an error if the file cannot
// be read or written, or if a mark is missing.
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
