package pmap_test

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"grim/arch"
	"grim/mm/pmap"
)

// The cost of a purge depends on the number of resident pages and tables only. Ten pages
// spread over 1 TB need as many steps, table look-ups and frees as ten tables do. The cost
// is measured in CPU time of the thread, which does not depend on what else the host does,
// against ten adjacent pages, with a wide margin: a walk over the 1 TB in 2 MB entries would
// be 500 000 look-ups. Broken by such a walk, from each table to the next.
func TestPurgeSparse(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	used := func() time.Duration {
		var ts unix.Timespec
		must(t, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts))
		return time.Duration(ts.Nano())
	}
	purge := func(stride arch.VA) time.Duration {
		b := newBench(t, formats[0], 4096, 255)
		best := time.Hour
		for range 20 {
			p := b.pmap(0)
			for i := range arch.VA(10) {
				ok(t, p.Enter(1<<40+i*stride, b.frame(), rw, 0))
			}
			begin := used()
			p.Purge(nil, nil)
			best = min(best, used()-begin)
			p.Destroy()
		}
		return best
	}
	dense, sparse := purge(pg), purge(100<<30)
	if sparse > 100*dense+100*time.Microsecond {
		t.Errorf("purge of 10 pages: %v in a row, %v over 1 TB", dense, sparse)
	}
}

func benchPurge(b *testing.B, pages int, fill func(t *bench, p *pmap.Pmap)) {
	t := newBench(b, formats[0], 80*512, 255)
	for b.Loop() {
		b.StopTimer()
		p := t.pmap(0)
		fill(t, p)
		b.StartTimer()
		p.Purge(nil, nil)
		p.Destroy()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(pages), "ns/page")
}

func BenchmarkPurgePages(b *testing.B) {
	benchPurge(b, 16384, func(t *bench, p *pmap.Pmap) {
		for i := range arch.VA(16384) {
			p.Enter(blk+i*pg, t.frame(), rw, 0)
		}
	})
}

func BenchmarkPurgeBlocks(b *testing.B) {
	benchPurge(b, 16384, func(t *bench, p *pmap.Pmap) {
		for i := range arch.VA(32) {
			p.EnterBlock(blk+i*blk, t.block(), rw, 0)
		}
	})
}

func BenchmarkPurgeSparse(b *testing.B) {
	benchPurge(b, 1024, func(t *bench, p *pmap.Pmap) {
		for i := range arch.VA(1024) {
			p.Enter(blk+i*blk*2, t.frame(), rw, 0)
		}
	})
}
