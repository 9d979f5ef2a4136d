package fs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Transfers of a regular file through memory that is absent or bad anywhere move as many
// bytes as they can, and the offset by the same number. An O_APPEND write stays in one
// piece. The test fails if a buffer that is delivered in part is counted as a whole, or not
// at all.
func TestShortTransfers(t *testing.T) {
	w := newWorld(t)
	f := w.open("/f", unix.O_CREAT|unix.O_RDWR)
	defer f.Release()
	rnd := rand.New(rand.NewPCG(1, 1))
	var model []byte
	for i := range 400 {
		n := []int{rnd.IntN(10), rnd.IntN(5000), rnd.IntN(3 * turnBytes)}[rnd.IntN(3)]
		bad := n
		if n > 0 && rnd.IntN(2) == 0 {
			bad = rnd.IntN(n)
		}
		pos := rnd.IntN(len(model) + 1)
		if _, err := f.Seek(int64(pos), unix.SEEK_SET); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, n)
		want, moved := 0, 0
		var err error
		if rnd.IntN(2) == 0 {
			for k := range b {
				b[k] = byte(rnd.Uint32())
			}
			moved, err = f.WriteFrom(w.task, newFlaky(b, bad, uint64(i)))
			want = bad
			model = append(model, make([]byte, max(0, pos+want-len(model)))...)
			copy(model[pos:], b[:want])
		} else {
			moved, err = f.ReadTo(w.task, newFlaky(b, bad, uint64(i)))
			want = min(bad, len(model)-pos)
			if !bytes.Equal(b[:want], model[pos:pos+want]) {
				t.Fatalf("step %d: wrong bytes", i)
			}
		}
		if moved != want || (err != nil) != (want == 0 && n > 0 && err == syscall.EFAULT) {
			t.Fatalf("step %d: %d of %d bytes, bad from %d: %d, %v", i, want, n, bad, moved, err)
		}
		if at, _ := f.Seek(0, unix.SEEK_CUR); at != int64(pos+moved) {
			t.Fatalf("step %d: offset %d, want %d", i, at, pos+moved)
		}
	}
	if got := w.get("/f"); got != string(model) {
		t.Error("the file differs from the model")
	}
}

// A listing costs as much as it shows: entries beyond the buffer are not visited. The test
// fails if a directory lists itself for each call.
func TestListingIsIncremental(t *testing.T) {
	w := newWorld(t)
	must(t, w.Mkdir(w.at, "/d", 0o755))
	const n = 20_000
	for i := range n {
		must(t, w.Symlink("x", w.at, fmt.Sprintf("/d/%d", i)))
	}
	d := w.open("/d", unix.O_RDONLY|unix.O_DIRECTORY)
	defer d.Release()
	looks := 0
	d.node.(*dir).entries(nil, n/2, func(entry) bool { looks++; return looks < 10 })
	if looks != 10 {
		t.Errorf("%d entries shown after %d, want 10", looks, n/2)
	}
	depth := 0
	for e := d.node.(*dir).order; e != nil; e = e.after {
		depth++
	}
	if depth > 60 {
		t.Errorf("the order of %d names is %d deep at its end", n, depth)
	}
	// Records that did not arrive are returned again.
	buf := make([]byte, 240)
	first, err := d.Getdents(w.task, buf, func(p []byte) (int, error) { return 100, syscall.EFAULT })
	if first != 96 || err != nil {
		t.Errorf("getdents of which 100 bytes arrive: %d, %v", first, err)
	}
	_, err = d.Getdents(w.task, buf, func(p []byte) (int, error) { return 10, syscall.EFAULT })
	want(t, "getdents of which no record arrives", err, syscall.EFAULT)
	seen := 4
	for {
		k, err := d.Getdents(w.task, buf, arrives)
		must(t, err)
		if k == 0 {
			break
		}
		_, names, _ := syscall.ParseDirent(buf[:k], -1, nil)
		seen += names
	}
	if seen != n+2 {
		t.Errorf("%d entries with the dots, want %d", seen, n+2)
	}
}
