package qemu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Boot runs one boot with a time limit. Every line of serial output goes to the file log
// and, if it is not nil, to out. stdin may be nil. The error is the verdict: it is nil only
// if everything has passed.
func Boot(ctx context.Context, c *Config, limit time.Duration, log string, out io.Writer, stdin *os.File) (*Verdict, error) {
	v := &Verdict{}
	if err := c.Machine.Missing(); err != nil {
		return v, err
	}
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return v, err
	}
	f, err := os.Create(log)
	if err != nil {
		return v, err
	}
	defer f.Close()

	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	argv, err := c.Machine.emulator()
	if err != nil {
		return v, err
	}
	if b := c.Machine.Board; b != nil && b.Card != "" {
		path := log + ".img"
		defer func() {
			for _, end := range []string{"", ".kernel", ".initrd"} {
				os.Remove(path + end)
			}
		}()
		if err := c.WriteCard(path); err != nil {
			return v, err
		}
		if b.Firmware == "" {
			if err := c.readCard(); err != nil {
				return v, err
			}
		}
	}
	argv = append(argv, c.Command()...)
	var socket string
	if c.Pokes != nil {
		dir, err := os.MkdirTemp("", "grim")
		if err != nil {
			return v, err
		}
		defer os.RemoveAll(dir)
		socket = filepath.Join(dir, "gdb")
		argv = append(argv, pokeArgs(socket)...)
	}
	cmd := exec.CommandContext(limited, argv[0], argv[1:]...)
	cmd.WaitDelay = 5 * time.Second
	// Before version 8, a board with a sound device looks for the host's, and complains.
	// The arguments for no sound differ between the versions.
	cmd.Env = append(os.Environ(), "QEMU_AUDIO_DRV=none")
	if stdin != nil && !c.Interactive {
		cmd.Stdin = stdin
	}
	if b := c.Machine.Board; b != nil && b.Keys != "" {
		cmd.Stdin = strings.NewReader(b.Keys)
	}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	var keys io.WriteCloser
	if stdin != nil && c.Interactive {
		if keys, err = cmd.StdinPipe(); err != nil {
			return v, err
		}
	}
	if err := cmd.Start(); err != nil {
		return v, fmt.Errorf("%s: %w", argv[0], err)
	}
	if keys != nil {
		// QEMU gets a pipe: it would change the settings of a terminal. The copy ends with
		// the next key after QEMU's end; nothing waits for that.
		go func() { _, _ = io.Copy(keys, stdin) }()
	}
	if c.Pokes != nil {
		if err := pokeAll(socket, c.Pokes); err != nil {
			fmt.Fprintln(f, "qemu: ", err) // the machine stays stopped until the time limit
		}
	}
	read := make(chan error, 1)
	var serial io.Reader = r
	if c.SlowReader {
		serial = &slowReader{from: r}
	}
	go func() { read <- v.copy(serial, f, out) }()
	waitErr := cmd.Wait()
	w.Close()
	if err := <-read; err != nil {
		return v, fmt.Errorf("reading the console: %w", err)
	}
	var exit *exec.ExitError
	if waitErr != nil && !errors.As(waitErr, &exit) && limited.Err() == nil {
		return v, waitErr
	}
	if ctx.Err() != nil {
		return v, errors.New("interrupted")
	}
	return v, v.Error(c.Machine.Arch, cmd.ProcessState.ExitCode(), limit, limited.Err() != nil)
}

// copy passes the console through at once, so that a prompt without a line end is visible.
// It reads it line by line for the verdict.
func (v *Verdict) copy(r io.Reader, log, out io.Writer) error {
	dst := log
	if out != nil {
		dst = io.MultiWriter(log, out)
	}
	br := bufio.NewReader(io.TeeReader(r, dst))
	for {
		line, err := br.ReadString('\n')
		v.Line(line)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// slowReader reads at a modem's pace between two lines that the guest prints, so that the
// pipe to QEMU fills, and with it the guest's serial port.
type slowReader struct {
	from io.Reader
	last []byte // what was read, as far as a line may begin in it
	slow bool
}

func (s *slowReader) Read(p []byte) (int, error) {
	const begin, end, pace = "console/slow: begin", "console/slow: end", 64
	if s.slow {
		time.Sleep(time.Millisecond)
	}
	n, err := s.from.Read(p[:min(len(p), pace)])
	s.last = append(s.last, p[:n]...)
	if b, e := bytes.LastIndex(s.last, []byte(begin)), bytes.LastIndex(s.last, []byte(end)); b != e {
		s.slow = b > e
	}
	s.last = append([]byte(nil), s.last[max(0, len(s.last)-len(begin)):]...)
	return n, err
}
