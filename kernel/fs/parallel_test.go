package fs

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Goroutines make, open, rename, link and remove the same few names. No call may fail in a
// way that no order of the calls explains (a panic, a race report). world checks that
// nothing is left: that shows a reference, or a link count, lost in a race between open and
// unlink. (Tried: into without its error, and move without releasing the old name's
// reference.)
func TestTreeParallel(t *testing.T) {
	w := newWorld(t)
	must(t, w.Mkdir(w.at, "/d", 0o755))
	var wg sync.WaitGroup
	for id := range 6 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			p := &prankster{w: w, r: rand.New(rand.NewPCG(uint64(id), 3)), at: At{Task: newTask(), Place: w.NewPlace()}}
			for range 2000 {
				p.step()
			}
			p.at.Place.Getcwd()
		}()
	}
	wg.Wait()
}

// A file unlinked between the walk and the open is gone; its name is looked up again. The test fails if openFound uses the node without hold (tried): the file's pages
// would be freed twice.
func TestUnlinkBeforeOpen(t *testing.T) {
	w := newWorld(t)
	for _, flags := range []int{unix.O_RDWR, unix.O_RDWR | unix.O_CREAT} {
		w.put("/f", "x")
		found, err := w.walk(w.at, "/f", follow)
		must(t, err)
		must(t, w.Unlink(w.at, "/f", 0))
		f, err := w.openFound(w.at, found, flags, 0, false)
		want(t, "open", err, errRetry)
		if f != nil {
			f.Release()
		}
	}
	_, err := w.Open(w.at, "/f", unix.O_RDWR, 0)
	want(t, "open of no file", err, syscall.ENOENT)
}

type prankster struct {
	w  *world
	r  *rand.Rand
	at At
}

func (p *prankster) path() string {
	return []string{"/d/", "/", "/d/s/", "", "../"}[p.r.IntN(5)] + []string{"a", "b", "s"}[p.r.IntN(3)]
}

func (p *prankster) step() {
	a, b := p.path(), p.path()
	switch p.r.IntN(9) {
	case 0:
		p.w.Mkdir(p.at, a, 0o755)
	case 1:
		p.w.Unlink(p.at, a, unix.AT_REMOVEDIR)
	case 2, 3:
		p.w.Unlink(p.at, a, 0)
	case 4:
		p.w.Rename(p.at, a, p.at, b, 0)
	case 5:
		p.w.Rename(p.at, a, p.at, b, unix.RENAME_EXCHANGE)
	case 6:
		p.w.Link(p.at, a, p.at, b, 0)
	case 7:
		p.w.Chdir(p.at, []string{"/d", "/", "/d/s"}[p.r.IntN(3)])
	case 8:
		p.use(a)
	}
}

// use opens a file and uses it.
func (p *prankster) use(path string) {
	f, err := p.w.Open(p.at, path, unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		return
	}
	defer f.Release()
	text := fmt.Appendf(nil, "%d", p.r.Uint64())
	if n, err := f.Write(p.at.Task, text); n != len(text) || err != nil {
		p.w.t.Errorf("write: %d, %v", n, err)
	}
	f.Path()
	f.Truncate(nil, p.r.Int64N(9000))
	if st := f.Stat(); int32(st.Nlink) < 0 || st.Nlink > 9 {
		p.w.t.Errorf("%d links", st.Nlink)
	}
}
