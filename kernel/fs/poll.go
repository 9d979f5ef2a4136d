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
	if n := scanPoll(fds); n > 0 || deadline <= 0 {
		return n, nil
	}
	b := bells.Get().(*bell)
	defer b.put()
	waiters := make([]waiter, len(fds))
	defer func() {
		for i := range waiters {
			waiters[i].remove()
		}
	}()
	for i := range fds {
		if f := fds[i].File; f != nil {
			if q := f.h.queue(); q != nil {
				waiters[i].wake = b.ring
				q.add(&waiters[i], fds[i].Events)
			}
		}
	}
	for {
		if n := scanPoll(fds); n > 0 {
			return n, nil
		}
		err := sleep(t, b.ch, deadline)
		switch {
		case timedOut(err):
			return scanPoll(fds), nil
		case err != nil:
			return 0, err
		}
	}
}

// scanPoll fills in Revents and counts the entries that have some.
func scanPoll(fds []PollFD) int {
	n := 0
	for i := range fds {
		p := &fds[i]
		if p.File == nil {
			continue
		}
		p.Revents = p.File.h.ready() & (p.Events | always)
		if p.Revents != 0 {
			n++
		}
	}
	return n
}
