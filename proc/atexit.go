package proc

// AtExit makes the process's exit call fn in step 3. There is one function for each name.
// fn must not block. A fork does not inherit it. Only a thread of the process may call
// AtExit.
func (p *Process) AtExit(name string, fn func()) {
	p.mu.Lock()
	if p.atExit == nil {
		p.atExit = make(map[string]func())
	}
	p.atExit[name] = fn
	p.mu.Unlock()
}

func (p *Process) runAtExit() {
	p.mu.Lock()
	all := p.atExit
	p.atExit = nil
	p.mu.Unlock()
	for _, fn := range all {
		fn()
	}
}
