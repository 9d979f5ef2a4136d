package proc

// AtExit has fn called in step 3 of the process's exit, once for each name: it must not
// block. A fork does not inherit it. For a thread of the process.
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
