package bench

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pictured returns the runs that the readme's pictures need.
func pictured() []*Run {
	grim := &Run{Setup: Setup{Kernel: "Grim", Arch: "amd64", Layout: "shared", Exit: "purge", Huge: true}}
	linux := &Run{Setup: Setup{Kernel: "Linux 6.1", Arch: "amd64", Huge: true}}
	for i, c := range besideCases {
		grim.Cases = append(grim.Cases, Case{Name: c.name, Median: float64(200 * (i + 1))})
		linux.Cases = append(linux.Cases, Case{Name: c.name, Median: float64(3000 * (i + 1))})
	}
	e := Exit{Case: picturedExit}
	for i, s := range []struct{ name, context string }{
		{"exit1", "process"}, {"user-done", "process"}, {"files-done", "process"}, {"purge-begin", "process"},
		{"purge-end", "process"}, {"dead", "process"}, {"deadproc", "process"}, {"reaper", "reaper"},
		{"space-freed", "reaper"}, {"zombie", "reaper"}, {"wakeup", "reaper"}, {"wait", "parent"}, {"gone", "parent"},
	} {
		e.Steps = append(e.Steps, Step{Name: s.name, Context: s.context, NS: int64(5000 + 1000*i)})
	}
	grim.Exits = []Exit{e}
	return []*Run{linux, grim}
}

// The pictures are files of their own: well-formed, every colour that they use is defined in
// them, each part of an exit and each case is named, and each part has its bar. Broken by
// leaving drawingStyle out of alone, and by a phase that exitDrawing skips.
func TestPictures(t *testing.T) {
	dir := t.TempDir()
	if err := Pictures(dir, pictured()); err != nil {
		t.Fatal(err)
	}
	var classes []string
	for _, p := range phases {
		classes = append(classes, p.Class)
	}
	for name, want := range map[string][]string{
		"exit-light": classes, "exit-dark": classes,
		"linux-light": {"linux", "shared-purge"}, "linux-dark": {"linux", "shared-purge"},
	} {
		data, err := os.ReadFile(filepath.Join(dir, name+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		for d := xml.NewDecoder(strings.NewReader(text)); err == nil; _, err = d.Token() {
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
		for _, v := range regexp.MustCompile(`var\((--[a-z-]+)\)`).FindAllStringSubmatch(text, -1) {
			if !strings.Contains(text, v[1]+": ") {
				t.Errorf("%s: colour %s is not defined", name, v[1])
			}
		}
		_, style, _ := strings.Cut(text, "<style>")
		for _, c := range want {
			if !strings.Contains(style, "."+c+" {") {
				t.Errorf("%s: class %s has no rule", name, c)
			}
			if bars := strings.Count(text, `<rect class="`+c+`"`); bars < 2 { // one of them explains the colour
				t.Errorf("%s: %d bars of class %s, and one that explains it; want one at least", name, bars-1, c)
			}
		}
	}
	data, _ := os.ReadFile(filepath.Join(dir, "linux-dark.svg"))
	for _, c := range besideCases {
		if !strings.Contains(string(data), ">"+c.title+"<") {
			t.Errorf("no bar for %s", c.name)
		}
	}
}

// Without the runs or the exit that they show there are no pictures, and the error says what
// is missing.
func TestPicturesMissing(t *testing.T) {
	runs := pictured()
	runs[1].Exits = nil
	for want, list := range map[string][]*Run{"both kernels": runs[:1], picturedExit: runs} {
		if err := Pictures(t.TempDir(), list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want an error that names %q", err, want)
		}
	}
}
