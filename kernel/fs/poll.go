package fs

// PollFD is an entry of Poll. For a bad descriptor, the caller sets Revents (POLLNVAL)
// itself and leaves File nil: Poll skips such an entry.
type PollFD struct {
	File    *File
	Events  uint32
	Revents uint32
}

// Poll waits until at least one of the files is ready for its Events (or has an error or
// hang-up) and returns how many are. It returns 0 at the monotonic deadline. It does not
// wait if the deadline is 0 or less. EINTR. select(2), poll(2) and ppoll(2) use it.
func Poll(t Task, fds []PollFD, deadline int64) (int, error) {
	if n, err := scanPoll(t, fds); n > 0 || deadline <= 0 || err != nil {
		return n, err
	}
	b := bells.Get().(*bell)
	defer b.put()
	c := call{task: t}
	waiters := make([]waiter, len(fds))
	defer func() {
		for i := range waiters {
			waiters[i].remove()
			if (i+1)%pollTurn == 0 {
				_ = c.pause()
			}
		}
	}()
	for i := range fds {
		if (i+1)%pollTurn == 0 {
			if err := c.pause(); err != nil {
				return 0, err
			}
		}
		if f := fds[i].File; f != nil {
			if q := f.h.queue(); q != nil {
				waiters[i].wake = b.ring
				q.add(&waiters[i], fds[i].Events)
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
func scanPoll(t Task, fds []PollFD) (n int, err error) {
	c := call{task: t}
	for i := range fds {
		if (i+1)%pollTurn == 0 {
			if err := c.pause(); err != nil {
				return partial(n, err)
			}
		}
		p := &fds[i]
		if p.File == nil {
			continue
		}
		p.Revents = p.File.h.ready() & (p.Events | always)
		if p.Revents != 0 {
			n++
		}
	}
	return n, nil
}
