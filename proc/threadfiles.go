package proc

// Most threads use the files of their process. A thread that clone(2) made without
// CLONE_FILES or CLONE_FS, or that has asked for it since, has its own (Thread.ownsFiles).
// From the first such thread on (Process.split) the other threads are counted, so that the
// process's files are closed when the last thread that uses them ends, and not only when
// the process ends.

// leaveFilesLocked ends an exiting thread's use of its files, and returns them if no other
// thread uses them. Otherwise the process's files are closed in step 3, with its last
// thread. Preconditions: p.mu held, p.split.
func (t *Thread) leaveFilesLocked() (alone Files) {
	p := t.p
	if t.ownsFiles {
		return t.files
	}
	if p.sharers--; p.sharers == 0 && p.running > 0 {
		alone, p.files = p.files, nil
	}
	return alone
}

// UnshareFiles gives the thread descriptors of its own if another thread or process uses
// them too (close_range(2) with CLOSE_RANGE_UNSHARE). The working directory stays shared.
// ENOMEM. Only the thread itself may call it.
func (t *Thread) UnshareFiles() error {
	p, old := t.p, t.files
	p.mu.Lock()
	alone := t.ownsFiles || p.running == 1 // it stays so: only a user of the files can make another user
	p.mu.Unlock()
	if old == nil || alone && !old.Shared() {
		return nil
	}
	u := t.user()
	own, err := old.Fork(CloneFS, u)
	u.Release()
	if err != nil {
		return err
	}
	p.mu.Lock()
	switch {
	case t.ownsFiles:
	case p.running == 1:
		p.files = own
	default:
		if !p.split {
			p.split, p.sharers = true, p.running
		}
		t.ownsFiles = true
		if p.sharers--; p.sharers > 0 {
			old = nil
		} else {
			p.files = nil
		}
	}
	t.files = own
	p.mu.Unlock()
	if old != nil {
		old.CloseAll()
	}
	return nil
}

// ownFiles makes the descriptors of the only thread the process's, shared with no other
// process, and closes those that are marked for execve(2). ENOMEM.
func (t *Thread) ownFiles() error {
	if err := t.UnshareFiles(); err != nil {
		return err
	}
	// If the thread had its own files, the last of the other threads has closed the
	// process's.
	p := t.p
	p.mu.Lock()
	p.files, p.split = t.files, false
	t.ownsFiles = false
	p.mu.Unlock()
	if t.files != nil {
		t.files.CloseOnExec()
	}
	return nil
}
