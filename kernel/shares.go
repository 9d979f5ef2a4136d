//go:build tamago

package kernel

import (
	"fmt"

	"grim/kernel/fs"
	"grim/kernel/share"
)

const (
	virtioShare = 9 // device ID: VirtIO 1.2, section 5
	// shareSlots is how many requests a share has at a time, shareQueue the descriptors for
	// them: two each.
	shareSlots = 4
	shareQueue = 2 * shareSlots
	// shareAt is where the directory of the host is mounted.
	shareAt = "/host"
)

// openShare starts the device behind which the host's directory is.
func (s *system) openShare(d *virtioDevice) (*share.Store, error) {
	ring, c, err := s.openRequests(*d, 0, shareQueue, shareSlots, share.BufferBytes)
	if err != nil {
		return nil, err
	}
	c.Log = func(line string) { fmt.Println("grim: " + shareAt + ": " + line) }
	q, err := share.NewQueue(c)
	if err != nil {
		return nil, err
	}
	d.io.SetQueue(0, ring)
	d.io.SetReady()
	go q.Run()
	return share.Open(q, false)
}

// mountShare mounts the directory of the host, if the machine has one. If that fails, a line
// on the console says why.
func (s *system) mountShare() {
	if s.share == nil {
		return
	}
	st, err := s.openShare(s.share)
	if err == nil {
		at := fs.At{Place: s.fs.NewPlace()}
		_ = s.fs.Mkdir(at, shareAt, 0o755) // it may be there
		if err = s.fs.Mount(at, shareAt, "host", "9p", st); err != nil {
			_ = st.Close()
		}
	}
	if err != nil {
		fmt.Printf("grim: %s: %v\n", shareAt, err)
		return
	}
	fmt.Printf("share: %s, %s\n", shareAt, s.share.where)
}
