package ext2

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"

	"grim/kernel/disk/disktest"
)

// tree is a model of what a file system should hold.
type tree struct {
	f    *FS
	dirs map[string]*mdir // by number
	r    *rand.Rand
	all  []*mdir
	t    testing.TB
	n    int
	open map[uint32]bool

	history *history // may be nil
}

type mdir struct {
	ino   uint32
	up    *mdir
	names map[string]any // *mdir, *mfile or a link's target
	gone  bool
}

type mfile struct {
	ino   uint32
	data  []byte
	links int
}

func newTree(t testing.TB, f *FS, seed int64) *tree {
	root := &mdir{ino: RootInode, names: map[string]any{}}
	m := &tree{f: f, r: rand.New(rand.NewSource(seed)), all: []*mdir{root}, t: t, open: map[uint32]bool{}}
	// The model leaves lost+found alone.
	return m
}

func (m *tree) dir() *mdir {
	for {
		if d := m.all[m.r.Intn(len(m.all))]; !d.gone {
			return d
		}
	}
}

// pick returns a name of a directory, or "" if it has none.
func (m *tree) pick(d *mdir) string {
	var names []string
	for n := range d.names {
		names = append(names, n)
	}
	if len(names) == 0 {
		return ""
	}
	sort.Strings(names)
	return names[m.r.Intn(len(names))]
}

func (m *tree) fresh() string {
	m.n++
	return fmt.Sprintf("n%d%s", m.n, strings.Repeat("x", m.r.Intn(60)))
}

func (m *tree) ok(what string, err error, allowed ...error) bool {
	m.t.Helper()
	if err == nil {
		return true
	}
	if !slices.Contains(allowed, err) {
		m.t.Fatalf("%s: %v", what, err)
	}
	return false
}

func (m *tree) note(ino uint32, p []byte) {
	if m.history != nil {
		m.history.note(ino, p)
	}
}

// write stores data as the page cache would: in blocks of a page, reserved before.
func (m *tree) write(x *mfile, off int, p []byte) bool {
	end := off + len(p)
	if end > len(x.data) {
		x.data = append(x.data, make([]byte, end-len(x.data))...)
	}
	old := bytes.Clone(x.data)
	copy(x.data[off:], p)
	const page = 4096
	for at := off / page * page; at < end; at += page {
		b := make([]byte, page)
		copy(b, x.data[at:])
		need, err := m.f.Missing(x.ino, int64(at), min(page, int64(len(x.data)-at)))
		if err != nil {
			m.t.Fatal(err)
		}
		if err := m.f.Reserve(need); err != nil {
			if err != syscall.ENOSPC {
				m.t.Fatal(err)
			}
			x.data = old // the file holds a part that was not expected
			m.truncate(x, 0)
			return false
		}
		m.note(x.ino, b)
		used, err := m.f.WriteAt(x.ino, b, int64(at), int64(len(x.data)))
		m.f.Unreserve(need - used)
		m.ok("write", err)
	}
	return true
}

func (m *tree) truncate(x *mfile, n int) {
	m.ok("truncate", m.f.Truncate(x.ino, int64(n)))
	if n <= len(x.data) {
		x.data = x.data[:n]
		if n%4096 != 0 { // the page cache clears the rest after the size
			b := make([]byte, 4096)
			at := n / 4096 * 4096
			copy(b, x.data[at:])
			need, err := m.f.Missing(x.ino, int64(at), int64(n-at))
			m.ok("missing", err)
			if !m.ok("reserve", m.f.Reserve(need), syscall.ENOSPC) {
				return
			}
			m.note(x.ino, b)
			used, err := m.f.WriteAt(x.ino, b, int64(at), int64(n))
			m.f.Unreserve(need - used)
			m.ok("tail", err)
		}
		return
	}
	x.data = append(x.data, make([]byte, n-len(x.data))...)
}

// step does one random operation.
func (m *tree) step() {
	now := m.f.opts.Now()
	attr := Attr{Mode: ModeReg | 0o640, UID: 1000, GID: 70000, Atime: now, Mtime: now, Ctime: now, Btime: now}
	d := m.dir()
	switch k := m.r.Intn(100); {
	case k < 25:
		name := m.fresh()
		ino, err := m.f.Create(d.ino, name, attr, "")
		if m.ok("create", err, syscall.ENOSPC) {
			x := &mfile{ino: ino, links: 1}
			d.names[name] = x
			m.write(x, 0, m.bytes(m.r.Intn(9000)))
		}
	case k < 35:
		name := m.fresh()
		attr.Mode = ModeDir | 0o755
		ino, err := m.f.Create(d.ino, name, attr, "")
		if m.ok("mkdir", err, syscall.ENOSPC) {
			n := &mdir{ino: ino, up: d, names: map[string]any{}}
			d.names[name] = n
			m.all = append(m.all, n)
		}
	case k < 40:
		name := m.fresh()
		attr.Mode = ModeLink | 0o777
		target := strings.Repeat("t", 1+m.r.Intn(200))
		_, err := m.f.Create(d.ino, name, attr, target)
		if m.ok("symlink", err, syscall.ENOSPC) {
			d.names[name] = target
		}
	case k < 60:
		if x, ok := d.names[m.pick(d)].(*mfile); ok {
			off := m.r.Intn(1 + min(len(x.data)+20000, 300_000))
			if m.r.Intn(10) == 0 {
				off += 1 << 20 // sparse
			}
			m.write(x, off, m.bytes(m.r.Intn(20000)))
		}
	case k < 66:
		if x, ok := d.names[m.pick(d)].(*mfile); ok {
			m.truncate(x, m.r.Intn(1+2*len(x.data)))
		}
	case k < 80:
		name := m.pick(d)
		if name == "" {
			return
		}
		sub, isDir := d.names[name].(*mdir)
		ino, last, err := m.f.Unlink(d.ino, name, isDir, now)
		if isDir && len(sub.names) > 0 {
			if err != syscall.ENOTEMPTY {
				m.t.Fatalf("rmdir of a directory with names: %v", err)
			}
			return
		}
		m.ok("unlink", err, syscall.ENOSPC)
		m.lost(d.names[name], ino, last)
		delete(d.names, name)
	case k < 85:
		if x, ok := d.names[m.pick(d)].(*mfile); ok {
			to, name := m.dir(), m.fresh()
			if m.ok("link", m.f.Link(to.ino, name, x.ino, now), syscall.ENOSPC) {
				to.names[name] = x
				x.links++
			}
		}
	case k < 98:
		m.rename(d, now)
	case k < 99:
		m.ok("sync", m.f.Sync())
	default:
		if x, ok := d.names[m.pick(d)].(*mfile); ok {
			a, err := m.f.Stat(x.ino)
			m.ok("stat", err)
			a.Mode = ModeReg | uint16(m.r.Intn(0o1000))
			m.ok("chmod", m.f.SetAttr(x.ino, a))
		}
	}
}

// lost records that a name of something is gone.
func (m *tree) lost(x any, ino uint32, last bool) {
	switch x := x.(type) {
	case *mdir:
		x.gone = true
	case *mfile:
		if x.links--; (x.links == 0) != last {
			m.t.Fatalf("a file has %d links, last is %v", x.links, last)
		}
	}
	if last {
		if m.r.Intn(4) == 0 {
			m.open[ino] = true // Close frees it
		} else {
			m.ok("forget", m.f.Forget(ino))
		}
	}
}

func (m *tree) rename(d *mdir, now int64) {
	name := m.pick(d)
	if name == "" {
		return
	}
	x := d.names[name]
	to := m.dir()
	if m.r.Intn(2) == 0 {
		to = d
	}
	sub, isDir := x.(*mdir)
	for p := to; p != nil && isDir; p = p.up {
		if p == sub {
			return
		}
	}
	newName := m.fresh()
	if m.r.Intn(2) == 0 {
		newName = m.pick(to)
	}
	if newName == "" {
		return
	}
	y, exists := to.names[newName]
	exchange := exists && m.r.Intn(4) == 0
	if exchange {
		other, otherDir := y.(*mdir)
		for p := d; p != nil && otherDir; p = p.up {
			if p == other {
				return
			}
		}
	}
	ino, last, err := m.f.Rename(d.ino, name, to.ino, newName, exchange, now)
	od, oldDir := y.(*mdir)
	switch {
	case exists && y == x:
		m.ok("rename to itself", err)
		return
	case exchange:
		if m.ok("exchange", err, syscall.EXDEV, syscall.ENOSPC) {
			d.names[name], to.names[newName] = y, x
		}
		return
	case exists && isDir && !oldDir && err == syscall.ENOTDIR, exists && !isDir && oldDir && err == syscall.EISDIR,
		exists && oldDir && len(od.names) > 0 && err == syscall.ENOTEMPTY, isDir && to != d && err == syscall.EXDEV:
		return
	}
	if !m.ok("rename", err, syscall.EXDEV, syscall.ENOSPC) {
		if oldDir && last { // the empty directory was removed, and then there was no room for the name
			m.lost(y, ino, last)
			delete(to.names, newName)
		}
		return
	}
	if exists {
		switch y := y.(type) {
		case string:
			if last {
				m.ok("forget", m.f.Forget(ino))
			}
		default:
			m.lost(y, ino, last)
		}
	}
	delete(d.names, name)
	to.names[newName] = x
}

func (m *tree) bytes(n int) []byte {
	p := make([]byte, n)
	m.r.Read(p)
	return p
}

// check compares the file system with the model.
func (m *tree) check(f *FS) {
	m.t.Helper()
	var walk func(d *mdir, path string)
	walk = func(d *mdir, path string) {
		seen := map[string]bool{}
		if err := f.ReadDir(d.ino, func(e Entry) error {
			if path == "" && e.Name == "lost+found" {
				if err := f.ReadDir(e.Ino, func(e Entry) error { return fmt.Errorf("lost+found has %q", e.Name) }); err != nil {
					m.t.Error(err)
				}
				return nil
			}
			seen[e.Name] = true
			p := path + "/" + e.Name
			a, err := f.Stat(e.Ino)
			if err != nil {
				m.t.Fatalf("%s: %v", p, err)
			}
			if ino, err := f.Lookup(d.ino, e.Name); ino != e.Ino || err != nil {
				m.t.Errorf("%s: look-up gives %d, %v", p, ino, err)
			}
			switch x := d.names[e.Name].(type) {
			case *mdir:
				if a.Mode&ModeType != ModeDir {
					m.t.Errorf("%s: mode %#o", p, a.Mode)
				}
				walk(x, p)
			case *mfile:
				if a.Mode&ModeType != ModeReg || a.Size != int64(len(x.data)) || int(a.Links) != x.links || a.UID != 1000 || a.GID != 70000 {
					m.t.Errorf("%s: %+v, want size %d, %d links", p, a, len(x.data), x.links)
				}
				b := make([]byte, (len(x.data)+4095)/4096*4096)
				if err := f.ReadAt(e.Ino, b, 0); err != nil || !bytes.Equal(b[:len(x.data)], x.data) {
					m.t.Errorf("%s: other data, %v", p, err)
				}
			case string:
				if s, err := f.Readlink(e.Ino); s != x || err != nil {
					m.t.Errorf("%s: target %q, %v", p, s, err)
				}
			default:
				m.t.Errorf("%s should not be there", p)
			}
			return nil
		}); err != nil {
			m.t.Fatal(err)
		}
		if len(seen) != len(d.names) {
			m.t.Errorf("%s has %d names, want %d", path, len(seen), len(d.names))
		}
	}
	walk(m.all[0], "")
}

// onHost compares the model with what debugfs copies out of an image.
func (m *tree) onHost(data []byte) {
	out := m.t.(*testing.T).TempDir()
	if text, code := disktest.Tool(m.t, "debugfs", "-R", "rdump / "+out, save(m.t, data)); code != 0 {
		m.t.Fatal(text)
	}
	var walk func(d *mdir, path string)
	walk = func(d *mdir, path string) {
		for name, x := range d.names {
			p := filepath.Join(path, name)
			switch x := x.(type) {
			case *mdir:
				walk(x, p)
			case *mfile:
				if b, err := os.ReadFile(p); err != nil || !bytes.Equal(b, x.data) {
					m.t.Errorf("debugfs copies %s out with other data: %v", p, err)
				}
			case string:
				if s, err := os.Readlink(p); s != x {
					m.t.Errorf("debugfs makes %s a link to %q: %v", p, s, err)
				}
			}
		}
	}
	walk(m.all[0], out)
}

// TestModel: after random operations, the file system is as the model says in memory, on
// disk and for debugfs, and e2fsck finds no errors.
func TestModel(t *testing.T) {
	steps := 500
	if testing.Short() {
		steps = 300
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			for seed := range int64(2) {
				d := image(t, k.mb, k.args)
				f := open(t, d)
				if why := f.ReadOnly(); why != "" {
					t.Fatal(why)
				}
				m := newTree(t, f, seed)
				for i := range steps {
					m.step()
					if t.Failed() {
						t.Fatalf("seed %d, step %d", seed, i)
					}
				}
				m.check(f)
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				clean(t, d.data)
				m.onHost(d.data)
				again := open(t, d)
				m.check(again)
				if err := again.Close(); err != nil {
					t.Fatal(err)
				}
				clean(t, d.data)
			}
		})
	}
}
