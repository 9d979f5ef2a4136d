//go:build tamago && arm64

package arm64

import (
	"errors"
	"runtime"
)

// Read returns what has come in, at least one byte; it blocks the calling
// goroutine until then. Config.Raise must be runtime.RaiseIRQ. One reader at a
// time.
func (u *UART) Read(b []byte) (int, error) {
	if u.line == 0 {
		return 0, errors.New("arm64: the UART has no interrupt to wait for")
	}
	for len(b) > 0 {
		if n := u.take(b); n > 0 {
			return n, nil
		}
		runtime.WaitIRQ(u.line)
	}
	return 0, nil
}
