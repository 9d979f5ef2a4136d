//go:build tamago && arm64

package arm64

import (
	"errors"
	"runtime"
	"time"
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
		select {
		case u.sent <- struct{}{}:
		default:
		}
	}
	return 0, nil
}

// awaitLimit is how long Await sleeps at most, for ports that have no transmit interrupt,
// or if no goroutine is in Read.
const awaitLimit = 10 * time.Millisecond

// Await blocks the calling goroutine until Send may have room. It waits for the port's
// transmit interrupt, which the goroutine in Read passes on.
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
