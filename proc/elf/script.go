package elf

import (
	"bytes"
	"io"
	"syscall"
)

const (
	// scriptLine is how many bytes of a script's first line are read (BINPRM_BUF_SIZE,
	// execve(2), "Interpreter scripts").
	scriptLine = 256
	// MaxScripts is how many scripts execve(2) follows until it finds a program. One more
	// gives ELOOP.
	MaxScripts = 5
)

// Script is the first line of an interpreter script.
type Script struct {
	Interpreter string
	Arg         string // everything after the interpreter, as one argument
	HasArg      bool
}

// ParseScript reads a "#!" line. ok is false if the file does not begin with one. ENOEXEC
// if the line names no interpreter, or the name is cut off after scriptLine bytes.
func ParseScript(r io.ReaderAt, size int64) (s Script, ok bool, err error) {
	var buf [scriptLine]byte
	n, err := r.ReadAt(buf[:min(size, scriptLine)], 0)
	if err != nil && err != io.EOF {
		return s, false, err
	}
	line, ok := bytes.CutPrefix(buf[:n], []byte("#!"))
	if !ok {
		return s, false, nil
	}
	line, _, whole := bytes.Cut(line, []byte("\n"))
	whole = whole || n < scriptLine
	if i := bytes.IndexByte(line, 0); i >= 0 {
		line, whole = line[:i], true
	}
	line = bytes.TrimLeft(line, " \t")
	name, arg := line, []byte(nil)
	if i := bytes.IndexAny(line, " \t"); i >= 0 {
		name, arg, whole = line[:i], bytes.Trim(line[i:], " \t"), true
	}
	if len(name) == 0 || !whole {
		return s, true, syscall.ENOEXEC
	}
	return Script{string(name), string(arg), len(arg) > 0}, true, nil
}
