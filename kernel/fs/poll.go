package fs

// PollFD is an entry of Poll. The caller sets Revents of bad descriptors
// (POLLNVAL) itself and leaves File nil: such an entry is skipped.
type PollFD struct {
	File    *File
	Events  uint32
	Revents uint32
}

// Poll waits until one of the files is ready for its Events (or has an error or
// hang-up) and returns how many are; 0 at the monotonic deadline. A deadline in
// the past, 0 for example, only looks. EINTR. select(2), poll(2) and ppoll(2)
// are made of it.
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

// scanPoll fills in Revents and counts the entries that have some. An error only if
// none has.
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
