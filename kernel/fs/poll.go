package fs

// PollFD is an entry of Poll. For a bad descriptor, the caller sets Revents (POLLNVAL)
// itself and leaves File nil: Poll skips such an entry.
type PollFD struct {
	File    *File
	Events  uint32
	Revents uint32
}

// PollFDs are the entries of a Poll, in pieces of up to pollPiece: to clear or to copy a
// slice of all of them could take long.
type PollFDs [][]PollFD

// pollPiece is how many entries a piece of PollFDs has.
const pollPiece = 128

// Add appends an entry.
func (l *PollFDs) Add(p PollFD) {
	if n := len(*l); n == 0 || len((*l)[n-1]) == pollPiece {
		*l = append(*l, make([]PollFD, 0, pollPiece))
	}
	last := &(*l)[len(*l)-1]
	*last = append(*last, p)
}

// Poll waits until at least one of the files is ready for its Events (or has an error or
// hang-up) and returns how many are. It returns 0 at the monotonic deadline. It does not
// wait if the deadline is 0 or less. EINTR. select(2), poll(2) and ppoll(2) use it.
func Poll(t Task, fds PollFDs, deadline int64) (int, error) {
	if n, err := scanPoll(t, fds); n > 0 || deadline <= 0 || err != nil {
		return n, err
	}
	b := bells.Get().(*bell)
	defer b.put()
	c := call{task: t}
	var waiters [][]waiter
	defer func() {
		for _, piece := range waiters {
			for i := range piece {
				piece[i].remove()
				if (i+1)%pollTurn == 0 {
					_ = c.pause()
				}
			}
		}
	}()
	for _, piece := range fds {
		w := make([]waiter, len(piece))
		waiters = append(waiters, w)
		for i := range piece {
			if (i+1)%pollTurn == 0 {
				if err := c.pause(); err != nil {
					return 0, err
				}
			}
			if f := piece[i].File; f != nil {
				if q := f.h.queue(); q != nil {
					w[i].wake = b.ring
					q.add(&w[i], piece[i].Events)
				}
			}
		}
	}
	for {
		if n, err := scanPoll(t, fds); n > 0 || err != nil {
			return n, err
		}
		err := sleep(t, b.ch, deadline)
		switch {
		case timedOut(err):
			return scanPoll(t, fds)
		case err != nil:
			return 0, err
		}
	}
}

// scanPoll fills in Revents and counts the entries with Revents. It returns an error only
// if no entry has any.
func scanPoll(t Task, fds PollFDs) (n int, err error) {
	c := call{task: t}
	for _, piece := range fds {
		for i := range piece {
			if (i+1)%pollTurn == 0 {
				if err := c.pause(); err != nil {
					return partial(n, err)
				}
			}
			p := &piece[i]
			if p.File == nil {
				continue
			}
			p.Revents = p.File.h.ready() & (p.Events | always)
			if p.Revents != 0 {
				n++
			}
		}
	}
	return n, nil
}
