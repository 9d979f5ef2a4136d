package ext2

import (
	"bytes"
	"testing"
)

// scenario is a few operations between two Syncs. Each of their writes may be the last
// before a power cut.
type scenario struct {
	name   string
	before func(o *ops)
	then   func(o *ops)
}

// ops makes the scenarios short. Files have data, because e2fsck simply clears a file
// without a name that has none.
type ops struct {
	t   *testing.T
	f   *FS
	now int64
}

func (o *ops) ok(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *ops) at(dir uint32, name string) uint32 {
	o.t.Helper()
	ino, err := o.f.Lookup(dir, name)
	o.ok(err)
	return ino
}

func (o *ops) file(dir uint32, name string) uint32 {
	o.t.Helper()
	ino, err := o.f.Create(dir, name, Attr{Mode: ModeReg | 0o644, Ctime: o.now, Mtime: o.now}, "")
	o.ok(err)
	o.ok(o.f.Reserve(3))
	used, err := o.f.WriteAt(ino, bytes.Repeat([]byte{byte(ino)}, 3072), 0, 3000)
	o.ok(err)
	o.f.Unreserve(3 - used)
	return ino
}

func (o *ops) dir(dir uint32, name string) uint32 {
	o.t.Helper()
	ino, err := o.f.Create(dir, name, Attr{Mode: ModeDir | 0o755, Ctime: o.now, Mtime: o.now}, "")
	o.ok(err)
	return ino
}

func (o *ops) unlink(dir uint32, name string, rmdir bool) {
	o.t.Helper()
	ino, last, err := o.f.Unlink(dir, name, rmdir, o.now)
	o.ok(err)
	if last {
		o.ok(o.f.Forget(ino))
	}
}

func (o *ops) rename(from uint32, a string, to uint32, b string, exchange bool) {
	o.t.Helper()
	ino, last, err := o.f.Rename(from, a, to, b, exchange, o.now)
	o.ok(err)
	if last {
		o.ok(o.f.Forget(ino))
	}
}

var scenarios = []scenario{
	{"create", nil, func(o *ops) {
		d := o.dir(RootInode, "d")
		o.file(o.dir(d, "e"), "f")
	}},
	{"remove", func(o *ops) {
		d := o.dir(RootInode, "d")
		o.file(o.dir(d, "e"), "f")
	}, func(o *ops) {
		d := o.at(RootInode, "d")
		o.unlink(o.at(d, "e"), "f", false)
		o.unlink(d, "e", true)
		o.unlink(RootInode, "d", true)
	}},
	{"create and remove", nil, func(o *ops) {
		d := o.dir(RootInode, "d")
		o.file(d, "f")
		o.unlink(d, "f", false)
		o.file(d, "g")
	}},
	{"move out and remove", func(o *ops) { o.file(o.dir(RootInode, "d"), "f") }, func(o *ops) {
		d := o.at(RootInode, "d")
		o.rename(d, "f", o.dir(RootInode, "e"), "g", false)
		o.unlink(RootInode, "d", true)
	}},
	{"another name", func(o *ops) { o.file(o.dir(RootInode, "d"), "f") }, func(o *ops) {
		d := o.at(RootInode, "d")
		o.ok(o.f.Link(o.dir(RootInode, "e"), "g", o.at(d, "f"), o.now))
		o.unlink(d, "f", false)
	}},
	{"replace", func(o *ops) { o.file(o.dir(RootInode, "d"), "f") }, func(o *ops) {
		o.file(RootInode, "new")
		o.rename(RootInode, "new", o.at(RootInode, "d"), "f", false)
	}},
	{"exchange", func(o *ops) {
		o.file(o.dir(RootInode, "d"), "f")
		o.file(o.dir(RootInode, "e"), "g")
	}, func(o *ops) { o.rename(o.at(RootInode, "d"), "f", o.at(RootInode, "e"), "g", true) }},
	{"rename a directory", func(o *ops) { o.file(o.dir(RootInode, "d"), "f") }, func(o *ops) {
		o.rename(RootInode, "d", RootInode, "a-longer-name", false)
	}},
	{"use again", func(o *ops) { o.file(RootInode, "f") }, func(o *ops) {
		o.unlink(RootInode, "f", false)
		for _, n := range []string{"g", "h", "i"} {
			o.file(o.dir(RootInode, n), n)
		}
	}},
}

// TestOrder cuts the power after each write of each scenario. e2fsck -p must repair the
// file system.
//
// Broken by: the inode before the name (Create), the name before the inode (Unlink), a
// directory's inode deleted before its children's (dropLink without FS.after), the last of
// two names removed before the other is on disk (dropLink without FS.own), and a name of an
// inode written before the descriptor says that the inode's part of the table is in use
// (initTable).
func TestOrder(t *testing.T) {
	for _, kind := range []string{"-t ext4 -b 1024 -O ^has_journal -g 512", "-t ext2 -b 1024 -g 512"} {
		for _, sc := range scenarios {
			t.Run(kind[3:7]+"/"+sc.name, func(t *testing.T) {
				d := image(t, 4, kind)
				f := open(t, d)
				o := &ops{t, f, f.opts.Now()}
				if sc.before != nil {
					sc.before(o)
				}
				o.ok(f.Sync())
				start := bytes.Clone(d.data)
				d.record = true
				sc.then(o)
				o.ok(f.Sync())
				o.ok(f.Sync())
				data := start
				for _, x := range d.log {
					copy(data[x.off:], x.data)
					if x.data != nil {
						repair(t, bytes.Clone(data))
					}
				}
			})
		}
	}
}
