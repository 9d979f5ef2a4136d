package proc

// sigWatcher is told of each signal that is queued for a process.
type sigWatcher struct{ fn func() }

// OnSignal has fn called whenever a signal has been queued for the process or one of
// its threads, with Process.mu held: it must not block. cancel forgets it.
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

// HasPending says whether a signal of a set waits for the thread or its process. For
// any thread.
func (t *Thread) HasPending(set Sigset) bool {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return (t.pending.set|t.p.pending.set)&set != 0
}
