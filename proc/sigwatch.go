package proc

// sigWatcher is a function that is called for each signal queued for a process.
type sigWatcher struct{ fn func() }

// OnSignal makes fn be called whenever a signal has been queued for the process or one of
// its threads. It is called with Process.mu held and must not block. cancel undoes it.
func (p *Process) OnSignal(fn func()) (cancel func()) {
	w := &sigWatcher{fn}
	p.mu.Lock()
	if p.watchers == nil {
		p.watchers = make(map[*sigWatcher]struct{})
	}
	p.watchers[w] = struct{}{}
	p.mu.Unlock()
	return func() {
		p.mu.Lock()
		delete(p.watchers, w)
		p.mu.Unlock()
	}
}

// HasPending reports whether a signal in a set is pending for the thread or its process. It
// may be called for any thread.
func (t *Thread) HasPending(set Sigset) bool {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return (t.pending.set|t.p.pending.set)&set != 0
}
