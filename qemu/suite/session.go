package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"grim/qemu"
)

// typedKeys has the keys to type once a text has appeared. A prompt ends in "# ".
type typedKeys struct{ after, keys string }

// sessionKeys is an interactive session with busybox's shell: line editing, history,
// job control, an editor, a pager, top, and the end by ^D.
var sessionKeys = []typedKeys{
	{"# ", "echo one twoo\x7f three\n"},
	{"\none two three\r\n", "stty size; tty\n"},
	{"30 100\r\n/dev/console\r\n", "\x1b[A\x1b[A | tr a-z A-Z\n"}, // the command before the last
	{"\nONE TWO THREE\r\n", "sleep 100\n"},
	{"sleep 100\r\n", "\x03"},
	{"^C\r\n", "echo status $?\n"},
	{"\nstatus 130\r\n", "sleep 100\n"},
	{"sleep 100\r\n", "\x1a"},
	{"Stopped", "jobs; bg; fg\n"},
	{"[1]+  Stopped", ""},
	{"[1] sleep 100\r\nsleep 100\r\n", "\x03"},
	{"# ", "cat\n"},
	{"cat\r\n", "typed\n\x04"},
	{"typed\r\ntyped\r\n", "cat /dev/tty & wait\n"}, // reads in the background: SIGTTIN
	{"# ", "jobs\n"},
	{"Stopped (tty input)", "kill %1; fg >/dev/null 2>&1; vi /tmp/x\n"},
	{"- /tmp/x", "ihello from vi\x1b"},
	{"[Modified]", ":wq\n"},
	{"# ", "cat /tmp/x; seq 1 200 | less\n"},
	{"hello from vi\r\n", ""},
	{"standard input", "q"},
	{"# ", "top\n"},
	{"CPU", "q"},
	{"# ", "exit 7\x15echo $((6*7)); diff /etc/passwd /dev/null > /dev/null; echo d$?\n"},
	{"\n42\r\n", ""},
	{"d1\r\n", "\x04"},
}

// sessionAll runs the session on each architecture.
func sessionAll(ctx context.Context, pattern string, limit time.Duration) (t tally) {
	for _, arch := range []string{"amd64", "arm64"} {
		b := boot{arch: arch, mem: "256M", told: "session"}
		if !b.selected(pattern) {
			continue
		}
		start := time.Now()
		err := session(ctx, &b, limit)
		switch {
		case errors.Is(err, errNoShell):
			fmt.Printf("session %s: skipped: %v\n", arch, err)
		case err != nil:
			t.fail("session %s: FAILED: %v (serial output: %s)", arch, err, b.log())
		default:
			t.passed++
			fmt.Printf("session %s: %d texts came, %s\n", arch, len(sessionKeys), since(start))
		}
	}
	return t
}

var errNoShell = errors.New("no shell to try: Debian's busybox-static cannot be had here")

func session(ctx context.Context, b *boot, limit time.Duration) error {
	mk := os.Getenv("MAKE")
	if mk == "" {
		mk = "make"
	}
	if out, err := exec.CommandContext(ctx, mk, "--no-print-directory", "initramfs", "ARCH="+b.arch, "SHELL_BOOT=1", "PROGRAM=", "ROOTFS=").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %v\n%s", errNoShell, err, out)
	}
	m, err := qemu.Lookup(b.arch, "")
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	s := &typist{keys: w, steps: sessionKeys}
	_, err = qemu.Boot(ctx, &qemu.Config{
		Machine: m, Memory: b.mem, Kernel: buildDir("", b.arch) + "/grim", Initrd: buildDir("", b.arch) + "/shell.cpio",
		Append: []string{"selftest=none -- shell 30x100 vt100"}, Interactive: true,
	}, limit, b.log(), s, r)
	if left := s.left(); left != "" {
		return fmt.Errorf("%s; %v", left, err)
	}
	return err
}

// typist types each step's keys when its text has appeared. If a text does not appear in
// time, it ends the session.
type typist struct {
	keys  *os.File
	mu    sync.Mutex
	steps []typedKeys
	seen  []byte
	timer *time.Timer
}

// patience is how long a text may take to appear.
const patience = 40 * time.Second

// Write implements io.Writer for the machine's output.
func (s *typist) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer == nil {
		s.timer = time.AfterFunc(patience, func() { fmt.Fprint(s.keys, "\x01x") }) // QEMU's own keys: end
	}
	s.seen = append(s.seen, p...)
	for len(s.steps) > 0 {
		at := bytes.Index(s.seen, []byte(s.steps[0].after))
		if at < 0 {
			break
		}
		s.seen = s.seen[at+len(s.steps[0].after):]
		keys := s.steps[0].keys
		s.steps = s.steps[1:]
		s.timer.Reset(patience)
		// Wait like a person, so that a key alone is not taken for the start of an escape
		// sequence.
		time.AfterFunc(200*time.Millisecond, func() { _, _ = s.keys.WriteString(keys) })
	}
	if len(s.steps) == 0 {
		s.timer.Reset(patience)
	}
	return len(p), nil
}

// left names the text that did not appear, or returns "" if all did.
func (s *typist) left() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer.Stop()
	if len(s.steps) == 0 {
		return ""
	}
	return fmt.Sprintf("%q did not come, but %q", s.steps[0].after, tail(string(s.seen), 5))
}

// programsAll runs the short form of `make test-programs`: only Grim, compared with Linux's
// earlier output.
func programsAll(ctx context.Context, pattern string) (t tally) {
	for _, arch := range []string{"amd64", "arm64"} {
		b := boot{arch: arch, told: "programs"}
		if !b.selected(pattern) {
			continue
		}
		start := time.Now()
		out, err := exec.CommandContext(ctx, "go", "run", "./qemu/programs", "-short", "-world", "busybox", "-arch", arch).CombinedOutput()
		switch {
		case bytes.Contains(out, []byte("fetching")) && bytes.Contains(out, []byte("programs: ")):
			fmt.Printf("programs %s: skipped: Debian's packages cannot be had here\n%s\n", arch, tail(string(out), 5))
		case err != nil:
			t.fail("programs %s: FAILED: %v\n%s", arch, err, tail(string(out), 60))
		default:
			t.passed++
			fmt.Printf("programs %s: as on Linux, %s\n", arch, since(start))
		}
	}
	return t
}
