package charge

import (
	"math/rand"
	"sync"
	"testing"
)

func limited(heap int64) *System { return New(Config{HeapLimit: heap, FrameLimit: heap}) }

// empty checks that nothing is charged and that no user is left.
func (s *System) empty(t *testing.T) {
	t.Helper()
	if n := s.Totals(); n != (Totals{}) {
		t.Errorf("left: %v", n)
	}
	for r := range resources {
		if n := s.Used(r); n != 0 {
			t.Errorf("resource %d: %d bytes left", r, n)
		}
	}
	if len(s.users) != 0 || s.References() != 0 {
		t.Errorf("%d users left, %d references", len(s.users), s.References())
	}
}

// TestShares: each user, however late, gets three quarters of the rest.
func TestShares(t *testing.T) {
	s := limited(1 << 20)
	left := int64(1 << 20)
	var users []*User
	var got []int64
	for uid := range uint32(4) {
		u := s.User(uid)
		n := int64(0)
		for u.Take(Inode, 16) {
			n += 16
		}
		if want := left * 3 / 4; n < want-64 || n > want+64 {
			t.Errorf("user %d got %d of %d bytes, want %d", uid, n, left, want)
		}
		left -= n
		users, got = append(users, u), append(got, n)
	}
	if !s.Kernel().Take(Inode, 1<<30) {
		t.Error("the kernel was refused")
	}
	s.Kernel().Give(Inode, 1<<30)
	for i, u := range users {
		u.Give(Inode, got[i])
		u.Release()
	}
	s.empty(t)
}

// TestResources: frames and heap have separate limits.
func TestResources(t *testing.T) {
	s := limited(1 << 20)
	u := s.User(1)
	for u.Take(Thread, 4096) {
	}
	held := u.Used(Heap)
	if !u.Take(PipePages, 4096) {
		t.Error("no frames because the heap is used up")
	}
	u.Give(PipePages, 4096)
	u.Give(Thread, held)
	u.Release()
	s.empty(t)
}

// TestRefuse: a test refuses the charges that it wants to refuse. Others are made as usual,
// and nothing of a refused charge stays. Broken by: refused that forgets the limits while
// Refuse is on.
func TestRefuse(t *testing.T) {
	s := limited(1 << 20)
	u := s.User(1)
	asked := 0
	s.Refuse(func(k Kind, n int64) bool { asked++; return k == Name && n == 20 })
	if u.Take(Name, 20) || !u.Take(Name, 10) || !u.Take(Inode, 20) || !s.Kernel().Take(Name, 20) {
		t.Error("refused the wrong ones")
	}
	if u.Take(Inode, 1<<20) {
		t.Error("more than the limit")
	}
	if asked != 4 || s.Limit(Heap) != 1<<20 {
		t.Errorf("asked %d times; limit %d", asked, s.Limit(Heap))
	}
	s.Refuse(nil)
	if !u.Take(Name, 20) || asked != 4 {
		t.Errorf("refused after the end; asked %d times", asked)
	}
	u.Give(Name, 30)
	u.Give(Inode, 20)
	s.Kernel().Give(Name, 20)
	u.Release()
	s.empty(t)
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", what)
		}
	}()
	f()
}

func TestMisuse(t *testing.T) {
	s := limited(1 << 20)
	u := s.User(7)
	u.Take(Inode, 100)
	mustPanic(t, "given back as another kind", func() { u.Give(Name, 100) })
	for name, left := range map[string]func(a *Account){
		"heap":   func(a *Account) { a.Take(Inode, 10) },
		"frames": func(a *Account) { a.Take(PipePages, 10) },
		"signal": func(a *Account) { a.TakeOne(Signal, 0, 10) },
		"thread": func(a *Account) { a.TakeOne(Thread, 0, 10) },
	} {
		a := opened(t, u)
		a.GiveOne(Thread, 20)
		left(a)
		mustPanic(t, "closed with a "+name, func() { a.Close(Process, 10) })
	}
}

// opened returns an account with 10 bytes charged for a process and 20 for its thread.
func opened(t *testing.T, u *User) *Account {
	t.Helper()
	a := new(Account)
	if !a.Open(u, Process, 10, Thread, 20, 100) {
		t.Fatal("account was refused")
	}
	return a
}

func (a *Account) end() {
	a.GiveOne(Thread, 20)
	a.Close(Process, 10)
}

// TestOpen: if Open is refused nothing stays charged, whichever of its charges was refused.
// Broken by: take that forgets m when it is refused.
func TestOpen(t *testing.T) {
	s := limited(1 << 20)
	u := s.User(1)
	var a Account
	for _, refused := range []Kind{Process, Thread} {
		s.Refuse(func(k Kind, n int64) bool { return k == refused })
		if a.Open(u, Process, 10, Thread, 20, 100) {
			t.Errorf("opened without %v", refused)
		}
	}
	s.Refuse(nil)
	if a.Open(u, Process, 10, Thread, 20, 0) || a.Open(u, Process, 1<<19, Thread, 1<<19, 1) {
		t.Error("opened beyond a limit")
	}
	if u.Used(Heap) != 0 || u.Count(Thread) != 0 {
		t.Errorf("left: %d bytes, %d threads", u.Used(Heap), u.Count(Thread))
	}
	b := opened(t, u)
	if u.Used(Heap) != 30 || u.Count(Thread) != 1 || b.Used(Heap) != 30 {
		t.Errorf("open: %d bytes, %d threads", u.Used(Heap), u.Count(Thread))
	}
	b.end()
	u.Release()
	s.empty(t)
}

// TestMove: a user pays for the accounts that now belong to it, and what is given back
// later is given back to that user. A user that holds nothing any more is forgotten.
func TestMove(t *testing.T) {
	s := limited(1 << 20)
	u, v := s.User(1), s.User(2)
	a := opened(t, u)
	u.Release()
	a.Take(Thread, 970)
	v.Take(Space, 500)
	a.Move(v)
	if u.Used(Heap) != 0 || v.Used(Heap) != 1500 || s.Used(Heap) != 1500 || a.User() != v || s.users[1] != nil {
		t.Errorf("after Move: %d, %d, machine %d", u.Used(Heap), v.Used(Heap), s.Used(Heap))
	}
	s.Kernel().PayFor(Space, 500, v)
	a.Move(s.Kernel())
	if v.Used(Heap) != 0 || s.Used(Heap) != 0 {
		t.Errorf("moved to the kernel: %d, machine %d", v.Used(Heap), s.Used(Heap))
	}
	a.Move(v)
	a.Give(Thread, 970)
	a.end()
	s.Kernel().Give(Space, 500)
	v.Release()
	s.empty(t)
}

// TestCounts: the limits on threads and on queued signals apply to a user over all its
// accounts, and Move moves the counts. Broken by: Move that leaves the counts.
func TestCounts(t *testing.T) {
	for _, k := range []Kind{Thread, Signal} {
		s := limited(1 << 20)
		u, v := s.User(1), s.User(2)
		accounts := []*Account{opened(t, u), opened(t, u)}
		more := uint64(u.Count(k))
		for i, a := range accounts {
			if !a.TakeOne(k, 100, more+2) {
				t.Errorf("%v %d was refused", k, i)
			}
		}
		if accounts[0].TakeOne(k, 100, more+2) || u.Count(k) != int64(more)+2 || u.Used(Heap) != 260 {
			t.Errorf("third %v of 2: there are %d, %d bytes", k, u.Count(k), u.Used(Heap))
		}
		accounts[0].Move(v)
		if u.Count(k) != int64(more)/2+1 || v.Count(k) != u.Count(k) {
			t.Errorf("after Move: %d and %d %v", u.Count(k), v.Count(k), k)
		}
		if !accounts[1].TakeOne(k, 100, more/2+2) {
			t.Errorf("no room though a %v has moved", k)
		}
		accounts[1].GiveOne(k, 100)
		for _, a := range accounts {
			a.GiveOne(k, 100)
			a.end()
		}
		u.Release()
		v.Release()
		s.empty(t)
	}
}

// TestUserOutlives: a user without processes is known as long as it holds something.
func TestUserOutlives(t *testing.T) {
	s := limited(1 << 20)
	u := s.User(5)
	u.Take(Inode, 64)
	u.Release()
	if again := s.User(5); again != u {
		t.Error("a user with charges was forgotten")
	} else {
		again.Release()
	}
	u.Give(Inode, 64)
	s.empty(t)
}

// TestStorm charges, gives back and moves in parallel. Nothing may stay charged.
func TestStorm(t *testing.T) {
	const limit = 1 << 20
	s := limited(limit)
	accounts := make([]*Account, 4)
	for i := range accounts {
		u := s.User(uint32(i))
		accounts[i] = opened(t, u)
		u.Release()
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewSource(int64(g)))
			held := make([][]int64, len(accounts))
			for range 3000 {
				i := r.Intn(len(accounts))
				a := accounts[i]
				switch r.Intn(8) {
				case 0:
					u := s.User(uint32(r.Intn(6)))
					a.Move(u)
					u.Release()
				case 1, 2, 3:
					if h := held[i]; len(h) > 0 {
						a.Give(Signal, h[0])
						held[i] = h[1:]
					}
				default:
					if n := int64(r.Intn(1000)); a.Take(Signal, n) {
						held[i] = append(held[i], n)
					}
				}
			}
			for i, h := range held {
				for _, n := range h {
					accounts[i].Give(Signal, n)
				}
			}
		})
	}
	wg.Wait()
	for _, a := range accounts {
		a.end()
	}
	s.empty(t)
}

func BenchmarkTakeGive(b *testing.B) {
	s := limited(1 << 30)
	var a Account
	a.Open(s.User(1), Process, 10, Thread, 20, 100)
	for b.Loop() {
		a.Take(Space, 2048)
		a.Give(Space, 2048)
	}
}
