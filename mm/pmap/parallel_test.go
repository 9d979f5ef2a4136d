package pmap_test

import (
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// Address spaces fork, fault, unmap and exit at once, while readers look into them. It is
// for the race detector; at the end everything is back.
func TestParallel(t *testing.T) {
	b := newBench(t, formats[0], 32*512, 255)
	free := b.mem.FreeFrames()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 5))
			for range 15 {
				p, err := b.sys.New(arch.Layout(g & 1))
				if err != nil {
					t.Error(err)
					return
				}
				worker(t, b, p, rnd)
				p.Destroy()
			}
		})
	}
	wg.Wait()
	b.sys.Deactivate()
	b.sys.Drain()
	if n := b.mem.FreeFrames(); n != free {
		t.Errorf("%d frames free, want %d", n, free)
	}
	if err := b.mem.Audit(); err != nil {
		t.Error(err)
	}
}

func worker(t *testing.T, b *bench, p *pmap.Pmap, rnd *rand.Rand) {
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				p.Lookup(blk)
				p.Stats()
				p.Walk(0, arch.UserMax, func(arch.VA, pmap.Mapping) bool { return true })
			}
		}
	})
	for range 30 {
		va := arch.VA(1+rnd.IntN(4)) * blk
		switch rnd.IntN(6) {
		case 0, 1:
			for k := range arch.VA(20) {
				if f, err := b.mem.Alloc(phys.Anon); err == nil {
					if p.Enter(va+k*pg, f, rw, pmap.Flags(rnd.IntN(2))) != nil {
						b.mem.Unref(f)
					}
				}
			}
		case 2:
			if f, err := b.mem.AllocBlock(phys.Anon); err == nil {
				if p.EnterBlock(va, f, rw, 0) != nil {
					b.mem.UnrefBlock(f)
				}
			}
		case 3:
			if err := p.Remove(va+pg, va+blk+pg, nil); err != nil && err != syscall.ENOMEM {
				t.Error(err)
			}
		case 4:
			child, err := b.sys.New(p.Layout())
			if err != nil {
				break
			}
			if err := p.Copy(child, []pmap.Range{{0, arch.UserMax}}, pmap.Own{}, nil); err != nil && err != syscall.ENOMEM {
				t.Error(err)
			}
			p.Reuse(va, rw)
			child.Purge(nil, nil)
			child.Destroy()
		case 5:
			p.Reuse(va, rw)
			p.Promote(va)
		}
	}
	close(stop)
	reader.Wait()
	if err := p.Check(); err != nil {
		t.Error(err)
	}
	p.Purge(nil, nil)
}
