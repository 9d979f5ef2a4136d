//go:build tamago && arm64

package arm64

import (
	"errors"
	"runtime"
	"time"
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
		select {
		case u.sent <- struct{}{}:
		default:
		}
	}
	return 0, nil
}

// awaitLimit is how long Await sleeps without an interrupt: that of a port that has
// none, or of one whose line nobody reads.
const awaitLimit = 10 * time.Millisecond

// Await blocks the calling goroutine until Send may have room: the port's transmit
// interrupt, which the goroutine in Read passes on.
func (u *UART) Await() {
	limit := awaitLimit
	if u.line == 0 {
		limit = time.Millisecond
	} else {
		u.port.transmit(true)
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-u.sent:
	case <-late.C:
	}
}
