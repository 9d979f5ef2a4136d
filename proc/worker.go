package proc

import (
	"sync"

	"grim/proc/exit"
)

// maxIdleWorkers is how many goroutines may wait for a thread to run. Each holds its stack,
// which is 8 KB or what the last thread's calls have made it grow to.
const maxIdleWorkers = 16

// worker is a goroutine that runs one user thread after the other. Waking one that is
// parked costs 500 instructions less than starting a new goroutine and later ending it.
// Nothing of a thread stays with the worker: Thread.main returns with nothing above it on
// the stack, and then bury frees what the thread held, here or in the reaper.
type worker struct {
	parker parker
	t      *Thread // thread to run next; nil: end
	next   *worker // workerPool.mu
}

// workerPool holds the parked workers.
type workerPool struct {
	mu   sync.Mutex
	idle *worker
	n    int
	// closed: no more workers are kept.
	closed bool
}

// start runs t.main in a goroutine of its own. t is ready in every respect. Nobody waits for
// a new thread yet, so it runs after threads that are woken.
func (k *Kernel) start(t *Thread) {
	k.starting.Add(1)
	l := &k.workers
	l.mu.Lock()
	w := l.idle
	if w == nil {
		l.mu.Unlock()
		w = &worker{t: t}
		w.parker.init()
		go l.work(w)
		return
	}
	l.idle = w.next
	l.n--
	l.mu.Unlock()
	w.t = t
	w.parker.start()
}

// work is the function that the worker's goroutine runs.
func (l *workerPool) work(w *worker) {
	for w.t != nil {
		t := w.t
		w.t = nil
		if t.main() {
			t.p.k.bury(t, exit.InProcess)
		}
		if !l.put(w) {
			return
		}
		w.parker.sleep()
	}
}

// put parks w and returns true, or returns false if there are enough parked workers: then w
// must end.
func (l *workerPool) put(w *worker) bool {
	l.mu.Lock()
	keep := l.n < maxIdleWorkers && !l.closed
	if keep {
		w.next = l.idle
		l.idle = w
		l.n++
	}
	l.mu.Unlock()
	return keep
}

// close ends the parked workers, and lets no worker park again.
func (l *workerPool) close() {
	l.mu.Lock()
	l.closed = true
	w := l.idle
	l.idle, l.n = nil, 0
	l.mu.Unlock()
	for w != nil {
		next := w.next // w may be gone once woken
		w.parker.wake()
		w = next
	}
}

func (l *workerPool) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}
