package exit

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	designRow = regexp.MustCompile("(?m)^\\| `([a-z]+)` \\| [^|]* \\| ([^|]*) \\|$")
	invariant = regexp.MustCompile(`E[0-9]+`)
)

// The tables of README.md and qemu/LAB.md have a row for each design, in the order of the
// list, and say what it breaks. Broken by: a design without a row; E1 left out of eager's.
func TestDocs(t *testing.T) {
	for _, file := range []string{"../../README.md", "../../qemu/LAB.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, row := range designRow.FindAllStringSubmatch(string(text), -1) {
			d := Named(row[1])
			if d == nil {
				continue // another table
			}
			names = append(names, d.Name)
			var breaks []string
			for _, b := range d.Breaks {
				breaks = append(breaks, b.Invariant.String())
			}
			if said := invariant.FindAllString(row[2], -1); !slices.Equal(said, breaks) {
				t.Errorf("%s: %s breaks %v, the table says %q", file, d, breaks, row[2])
			}
			if said := strings.Contains(row[2], "unsound on purpose"); said != d.Unsound {
				t.Errorf("%s: %s is unsound: %v, the table says %q", file, d, d.Unsound, row[2])
			}
		}
		if !slices.Equal(names, Names()) {
			t.Errorf("%s has rows for %v, want %v", file, names, Names())
		}
	}
}
