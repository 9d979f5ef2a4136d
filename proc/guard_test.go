package proc

import (
	"sync/atomic"
	"testing"
)

// From the moment at which a process has the memory of a set-user-ID program, a process on
// another CPU sees that program's credentials, and that it is not dumpable.
//
// Broken by an Exec that sets the credentials at its end, as its caller did: CloseOnExec, and the
// watching goroutine, saw the new memory with the user's credentials.
func TestExecGuard(t *testing.T) {
	m := newMachine(t, 4096, nil)
	p := m.spawn(SpawnArgs{Files: newFiles(new(atomic.Int64), nil)}, func(u *user) {
		for range 20 {
			u.Fork(func(c *user) {
				p := c.t.p
				c.t.SetCred(&Cred{UID: 1, EUID: 1, SUID: 1, FSUID: 1})
				p.SetDumpable(true)
				before := p.space.vs.ID()
				var stop atomic.Bool
				look := func() {
					vs, cred, dumpable := p.Guard()
					if vs == nil {
						return
					}
					if vs.ID() != before && (cred.EUID != 9 || dumpable) {
						t.Errorf("new memory with user %d, dumpable %v; want 9, false", cred.EUID, dumpable)
					}
					vs.Release()
				}
				done := make(chan bool)
				go func() {
					for !stop.Load() {
						look()
					}
					close(done)
				}()
				c.t.files.(*files).onExec = look
				c.ExecAs("x", &Cred{UID: 1, EUID: 9, SUID: 9, FSUID: 9}, func(c *user) {
					stop.Store(true)
					<-done
					look()
					c.ExitGroup(0)
				})
			})
			u.Wait(-1)
		}
	})
	if r := p.Wait(); r.Status != 0 {
		t.Errorf("status %#x", r.Status)
	}
}

// A process that changes to another user is not dumpable any more from the same moment on.
// Broken by a SetCred that leaves that to its caller.
func TestSetCredGuard(t *testing.T) {
	m := newMachine(t, 4096, nil)
	m.run(0, func(u *user) {
		p := u.t.p
		for i := range uint32(200) {
			p.SetDumpable(true)
			_, before, _ := guardOf(p)
			started, done := make(chan bool), make(chan bool)
			go func() {
				defer close(done)
				for close(started); ; {
					if _, c, dumpable := guardOf(p); c != before {
						if dumpable {
							t.Error("dumpable with the new credentials")
						}
						return
					}
				}
			}()
			<-started
			u.t.SetCred(&Cred{UID: 1 + i, EUID: 1 + i, SUID: 1 + i, FSUID: 1 + i})
			<-done
		}
	})
}

// guardOf is Guard without a reference.
func guardOf(p *Process) (id uint64, c *Cred, dumpable bool) {
	vs, c, dumpable := p.Guard()
	if vs != nil {
		id = vs.ID()
		vs.Release()
	}
	return id, c, dumpable
}
