package vm

import (
	"math/rand"
	"sync"
	"syscall"
	"testing"

	"grim/arch"
)

// Threads of one space map, fault, copy, fork and unmap at once, each in its own part and
// in a part that all share, while a reader of /proc looks at the map. It is for the race
// detector; at the end the space is whole and nothing is lost.
func TestParallel(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 32<<10)
		vs := m.space()
		o := NewFileObject(m.System, "/f", &slowPager{})
		defer o.Unref()
		o.Truncate(64 << 12)
		shared := mustMap(t, vs, 0x10000000, 4<<20, rw, Anon|Private|Fixed, nil, 0)
		var wg, reader sync.WaitGroup
		stop := make(chan bool)
		reader.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					vs.Entries()
					vs.Stats()
					vs.CopyIn(make([]byte, 100), shared)
				}
			}
		})
		for g := range 4 {
			base := 0x100000000 + arch.VA(g)<<32
			wg.Go(func() {
				r := rand.New(rand.NewSource(int64(g)))
				for range 300 {
					va := base + arch.VA(r.Intn(64))<<12
					n := uint64(1+r.Intn(16)) << 12
					var err error
					switch r.Intn(9) {
					case 0, 1:
						_, err = vs.Map(va, n, rw, Anon|Private|Fixed, nil, 0)
					case 2:
						_, err = vs.Map(va, n, rw, Shared|Fixed, o, 0)
					case 3:
						err = vs.Unmap(va, n)
					case 4:
						err = vs.Protect(va, n, arch.Prot(r.Intn(8)))
					case 5:
						if c, ferr := vs.Fork(arch.Separate, 0); ferr == nil {
							store(c, shared, 1)
							c.Purge(nil)
							c.Release()
						}
					case 6:
						err = vs.Sync(va, n, msSync)
					default:
						for i := range n >> 12 {
							err = store(vs, va+arch.VA(i)<<12, byte(i))
						}
					}
					if err != nil && err != syscall.ENOMEM && err != syscall.EFAULT && err != syscall.EACCES {
						t.Errorf("%v", err)
						return
					}
					i := r.Intn(1024)
					word := shared + arch.VA(i)<<12 + arch.VA(g)*8
					if err := vs.WriteUint32(word, uint32(i)); err != nil {
						t.Error(err)
						return
					}
					if v, err := vs.ReadUint32(word); v != uint32(i) || err != nil {
						t.Errorf("word of thread %d, page %d: %d, %v", g, i, v, err)
						return
					}
				}
			})
		}
		wg.Wait()
		close(stop)
		reader.Wait()
	})
}
