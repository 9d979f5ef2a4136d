package fs

import "sync"

// nestMu makes the check for cycles and the adding of an edge one step. It is taken before
// epoll.ctlMu.
var nestMu sync.Mutex

// maxNest is the maximum number of epoll instances of which each watches the next
// (epoll_ctl(2), ELOOP).
const maxNest = 5

// maxPaths bounds the number of paths on which an event of one file may reach epoll
// instances that no other instance watches (EINVAL), by the length of the path. It bounds
// the cost of one wake-up. Paths of length 1, to instances that watch the file itself, are
// not bounded.
var maxPaths = [maxNest + 1]int{2: 500, 3: 100, 4: 50, 5: 10}

// watched reports whether an epoll instance watches f.
func (f *File) watched() bool {
	f.watchMu.Lock()
	defer f.watchMu.Unlock()
	return f.watch != nil
}

// inner lists the instances that ep watches.
func (ep *epoll) inner() (list []*epoll) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	for k := range ep.items.all {
		if e, ok := k.file.h.(*epoll); ok {
			list = append(list, e)
		}
	}
	return list
}

// outer lists the instances that watch f.
func (f *File) outer() (list []*epoll) {
	f.watchMu.Lock()
	defer f.watchMu.Unlock()
	for it := f.watch; it != nil; it = it.nextWatch {
		list = append(list, it.ep)
	}
	return list
}

// reaches reports whether ep is target or watches it, directly or through other instances.
// Precondition, also of the functions below: nestMu held, so that there are no cycles.
func (ep *epoll) reaches(target *epoll) bool {
	seen := map[*epoll]bool{}
	var walk func(e *epoll) bool
	walk = func(e *epoll) bool {
		if e == target {
			return true
		}
		if seen[e] {
			return false
		}
		seen[e] = true
		for _, i := range e.inner() {
			if walk(i) {
				return true
			}
		}
		return false
	}
	return walk(ep)
}

// below returns the length of the longest chain of instances under ep of which each watches
// the next, at least up to maxNest. above returns the same for the instances that watch f.
func (ep *epoll) below(depth int) (n int) {
	if depth >= maxNest {
		return 0
	}
	for _, e := range ep.inner() {
		n = max(n, 1+e.below(depth+1))
	}
	return n
}

func (f *File) above(depth int) (n int) {
	if depth >= maxNest {
		return 0
	}
	for _, e := range f.outer() {
		n = max(n, 1+e.file.above(depth+1))
	}
	return n
}

// pathsAllowed checks maxPaths for f. If f is an epoll instance, it checks the files that f
// watches too.
func (f *File) pathsAllowed() bool {
	var count [maxNest + 1]int
	if !f.countPaths(1, &count) {
		return false
	}
	ep, ok := f.h.(*epoll)
	if !ok {
		return true
	}
	ep.mu.Lock()
	var files []*File
	for it := range ep.items.all {
		files = append(files, it.file)
	}
	ep.mu.Unlock()
	for _, f := range files {
		if !f.pathsAllowed() {
			return false
		}
	}
	return true
}

// countPaths adds the paths of an event of f to count, by length. It returns false if there
// are too many of a length.
func (f *File) countPaths(length int, count *[maxNest + 1]int) bool {
	for _, e := range f.outer() {
		switch {
		case length > maxNest:
			return false
		case e.file.watched():
			if !e.file.countPaths(length+1, count) {
				return false
			}
		case length > 1:
			if count[length]++; count[length] > maxPaths[length] {
				return false
			}
		}
	}
	return true
}
