// Command report prints what a report of a boot on a board should contain. It takes it from
// the serial output that a terminal program has saved:
//
//	go run ./boot/report -board rpi4 -image build/arm64/grim serial.log
package main

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

func main() {
	board := flag.String("board", "", "what the board is, as exactly as you know")
	image := flag.String("image", "build/arm64/grim", "the image that was booted")
	flag.Parse()
	if *board == "" || flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: report -board NAME [-image FILE] SERIAL-LOG")
		os.Exit(2)
	}
	log, err := os.ReadFile(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
	fmt.Printf("board: %s\ncommit: %s\ngo: %s\n", *board, run("git", "describe", "--always", "--dirty"), run("go", "env", "GOVERSION"))
	if b, err := os.ReadFile(*image); err == nil {
		fmt.Printf("image: %x, %d bytes\n", sha256.Sum256(b), len(b))
	} else {
		fmt.Printf("image: %v\n", err)
	}
	fmt.Print(summary(log))
}

// run returns the output of a command, or the reason why there is none.
func run(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
}

// Which lines of a log are shown, at most: loaderLines before the kernel's first line, and
// lastLines at each end of the kernel's output.
const (
	loaderLines = 40
	lastLines   = 60
)

var (
	first  = regexp.MustCompile(`^(Grim, arm64|grim: )`)
	result = regexp.MustCompile(`^ok \d+ - `)
	closed = regexp.MustCompile(`^\d+ passed, \d+ failed$`)
)

// summary returns the log without the tests that passed: the end of the boot loader's
// output, the rest of the kernel's output, and how the boot ended.
func summary(log []byte) string {
	lines := strings.Split(strings.TrimRight(string(bytes.ReplaceAll(log, []byte("\r"), nil)), "\n"), "\n")
	start := len(lines)
	for i, l := range lines {
		if first.MatchString(l) {
			start = i
			break
		}
	}
	var b strings.Builder
	part := func(name string, text []string) {
		fmt.Fprintf(&b, "\n%s:\n", name)
		for _, l := range text {
			fmt.Fprintf(&b, "    %s\n", l)
		}
	}
	part("boot loader", lines[max(0, start-loaderLines):start])
	if start == len(lines) {
		fmt.Fprintf(&b, "\nthe kernel has said nothing\n")
		return b.String()
	}
	passed, end := 0, ""
	var said []string
	for _, l := range lines[start:] {
		switch {
		case result.MatchString(l):
			passed++
		case closed.MatchString(l):
			end = l
		default:
			said = append(said, l)
		}
	}
	if n := len(said) - 2*lastLines; n > 0 {
		said = append(append(said[:lastLines:lastLines], fmt.Sprintf("... %d lines ...", n)), said[len(said)-lastLines:]...)
	}
	part("kernel", said)
	if end == "" {
		end = "it did not come to its end"
	}
	fmt.Fprintf(&b, "\n%d lines ok; %s\n", passed, end)
	return b.String()
}
