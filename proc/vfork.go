package proc

import "sync/atomic"

// vforkWait is a parent that has lent its address space (vfork(2)) and sleeps, or a thread
// that sleeps until the thread that it has made ends (CLONE_VFORK with CLONE_THREAD).
type vforkWait struct {
	parent *Thread
	done   atomic.Uint32
}

// wait sleeps until the child has left the space. Only the end of the caller's own process
// cuts the sleep short. Then the child goes on using the space, and the last user purges it
// (E9).
func (v *vforkWait) wait(t *Thread) { t.sleepOn(&v.done, todoExit, Forever) }

// release wakes the sleeper.
func (v *vforkWait) release() {
	v.done.Store(1)
	v.parent.Wake()
}

// releaseVfork wakes the parent, if there is one. The process has left the space, by exit
// (step 2c) or exec, and cannot touch it again.
func (p *Process) releaseVfork() {
	p.mu.Lock()
	v := p.vfork
	p.vfork = nil
	p.mu.Unlock()
	if v != nil {
		v.release()
	}
}
