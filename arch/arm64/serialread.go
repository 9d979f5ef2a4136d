//go:build tamago && arm64

package arm64

import (
	"errors"
	"runtime"
)

// Read returns received bytes, at least one. It blocks the calling goroutine until then.
// Config.Raise must be runtime.RaiseIRQ. Only one goroutine at a time may read.
func (u *UART) Read(b []byte) (int, error) {
	if u.line == 0 {
		return 0, errors.New("arm64: the UART has no interrupt to wait for")
	}
	for len(b) > 0 {
		if n := u.take(b); n > 0 {
			return n, nil
		}
		runtime.WaitIRQ(u.line)
		u.passOn()
	}
	return 0, nil
}
