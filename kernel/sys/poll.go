package sys

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
	"grim/proc"
)

// The low bits of EPOLL* are those of POLL*.
const (
	pollIn  = unix.POLLIN | unix.EPOLLRDNORM | unix.EPOLLRDBAND | unix.POLLHUP | unix.POLLERR
	pollOut = unix.POLLOUT | unix.EPOLLWRNORM | unix.EPOLLWRBAND | unix.POLLERR
	pollPri = unix.POLLPRI
	// pollAlways are reported even if they were not requested.
	pollAlways = unix.POLLERR | unix.POLLHUP
)

// pollCost is the kernel memory for one descriptor of a poll: struct pollfd, fs.PollFD and
// fs's waiter.
const pollCost = 128

// milliseconds returns the deadline of a timeout in ms. Negative: never. 0: now.
func (c ctx) milliseconds(ms int) int64 {
	switch {
	case ms < 0:
		return math.MaxInt64
	case ms == 0:
		return 0
	}
	return addTime(c.s.now(), int64(ms)*1e6)
}

// poll implements poll(2) and ppoll(2) for n pollfds at va.
func (c ctx) poll(va arch.VA, n uint64, deadline int64) (uint64, error) {
	tab := c.files().fds
	if n > uint64(max(tab.Limit(), 0)) {
		return 0, syscall.EINVAL
	}
	if !c.take(int(n) * pollCost) {
		return 0, syscall.ENOMEM
	}
	defer c.give(int(n) * pollCost)
	var fds fs.PollFDs
	defer func() { c.releasePoll(fds) }()
	invalid := 0
	var raw [64 * 8]byte // of struct pollfd: fd, events, revents
	part := func(at uint64) []byte { return raw[:min(8*(n-at), uint64(len(raw)))] }
	for at := uint64(0); at < n; at += uint64(len(raw)) / 8 {
		b := part(at)
		if err := c.mem().CopyIn(b, va+arch.VA(8*at)); err != nil {
			return 0, err
		}
		for ; len(b) > 0; b = b[8:] {
			fd := int(int32(le.Uint32(b)))
			p := fs.PollFD{Events: uint32(le.Uint16(b[4:])) | pollAlways}
			if fd >= 0 {
				var err error
				if p.File, err = tab.Get(fd); err != nil {
					p.Revents = unix.POLLNVAL
					invalid++
				}
			}
			fds.Add(p)
		}
		if err := c.pauseEvery(int(min(n-at, 64)) - 1); err != nil {
			return 0, err
		}
	}
	if invalid > 0 {
		deadline = 0
	}
	// As on Linux, revents are written even if a signal has ended the wait. No file is
	// ready then.
	ready, waitErr := fs.Poll(c.task(), fds, deadline)
	if waitErr != nil && waitErr != proc.ERESTARTSYS {
		return 0, waitErr
	}
	at := uint64(0)
	for _, piece := range fds {
		for len(piece) > 0 {
			b := part(at)
			if err := c.putRevents(va+arch.VA(8*at), b, piece); err != nil {
				return 0, err
			}
			piece, at = piece[len(b)/8:], at+uint64(len(b))/8
			if err := c.pauseEvery(len(b)/8 - 1); err != nil {
				return 0, err
			}
		}
	}
	return uint64(ready + invalid), waitErr
}

// putRevents stores the results of the pollfds at va, for which raw has room. It stores
// nothing but revents: another thread may be changing the rest for its next poll. It skips
// each revents that has the right value already, as most have.
func (c ctx) putRevents(va arch.VA, raw []byte, fds []fs.PollFD) error {
	if err := c.mem().EnsureWritable(va, uint64(len(raw))); err != nil {
		return err
	}
	if err := c.mem().CopyIn(raw, va); err != nil {
		return err
	}
	for at := 0; at < len(raw); at += 8 {
		revents := raw[at+6 : at+8]
		if le.Uint16(revents) == uint16(fds[at/8].Revents) {
			continue
		}
		le.PutUint16(revents, uint16(fds[at/8].Revents))
		if err := c.mem().CopyOut(va+arch.VA(at)+6, revents); err != nil {
			return err
		}
	}
	return nil
}

func (c ctx) releasePoll(fds fs.PollFDs) {
	for _, piece := range fds {
		for i := range piece {
			if f := piece[i].File; f != nil {
				f.Release()
			}
			_ = c.pauseEvery(i) // the rest must be released all the same
		}
	}
}

func sysPoll(c ctx) (uint64, error) {
	deadline, again := c.t.SavedDeadline()
	if !again {
		deadline = c.milliseconds(c.int(2))
	}
	n, err := c.poll(c.va(0), uint64(c.uint32(1)), deadline)
	if err == proc.ERESTARTSYS {
		err = c.t.SaveDeadline(deadline)
	}
	return n, err
}

// timed calls wait with the deadline of a timespec argument at va, and with a signal mask
// during the wait. It stores the remaining time, as Linux does.
func (c ctx) timed(va arch.VA, mask *proc.Sigset, wait func(deadline int64) (uint64, error)) (uint64, error) {
	deadline, err := c.deadline(va)
	if err != nil {
		return 0, err
	}
	if mask != nil {
		c.t.SetMaskUntilReturn(*mask)
	}
	n, err := wait(deadline)
	if va != 0 {
		ts := timespecOf(max(deadline-c.s.now(), 0))
		// Linux ignores a failure here: the time may be in read-only memory.
		_ = put(c, va, &ts)
	}
	return n, noHand(err)
}

// noHand changes the error of an interrupted wait so that the call is restarted only if no
// handler has run. After a handler it returns EINTR: the remaining time has been stored, so
// the program can restart the call itself.
func noHand(err error) error {
	if err == proc.ERESTARTSYS {
		return proc.ERESTARTNOHAND
	}
	return err
}

// sigmask reads the signal set at va. It returns nil for a null pointer.
func (c ctx) sigmask(va arch.VA, size uint64) (*proc.Sigset, error) {
	if va == 0 {
		return nil, nil
	}
	if size != 8 {
		return nil, syscall.EINVAL
	}
	m, err := get[proc.Sigset](c, va)
	return &m, err
}

func sysPpoll(c ctx) (uint64, error) {
	mask, err := c.sigmask(c.va(3), c.arg(4))
	if err != nil {
		return 0, err
	}
	return c.timed(c.va(2), mask, func(deadline int64) (uint64, error) {
		return c.poll(c.va(0), uint64(c.uint32(1)), deadline)
	})
}

// selectSets are the three bit sets of select(2), for input and output.
type selectSets [3][]byte

var selectEvents = [3]uint32{pollIn, pollOut, pollPri}

// selectFDs implements select(2) for sets of n bits at the three addresses.
func (c ctx) selectFDs(n int, at [3]arch.VA, deadline int64) (uint64, error) {
	if n < 0 {
		return 0, syscall.EINVAL
	}
	tab := c.files().fds
	n = min(n, max(tab.Limit(), unix.FD_SETSIZE))
	if !c.take(n * pollCost) {
		return 0, syscall.ENOMEM
	}
	defer c.give(n * pollCost)
	size := (n + 63) / 64 * 8
	var sets selectSets
	for i, va := range at {
		sets[i] = make([]byte, size)
		if va == 0 || size == 0 {
			continue
		}
		if err := c.mem().CopyIn(sets[i], va); err != nil {
			return 0, err
		}
	}
	fds, nums, err := sets.files(c, tab, n)
	defer func() { c.releasePoll(fds) }()
	if err != nil {
		return 0, err
	}
	if _, err := fs.Poll(c.task(), fds, deadline); err != nil {
		return 0, err
	}
	count, err := sets.results(c, fds, nums)
	if err != nil {
		return 0, err
	}
	for i, va := range at {
		if va == 0 || size == 0 {
			continue
		}
		if err := c.mem().CopyOut(va, sets[i]); err != nil {
			return 0, err
		}
	}
	return count, nil
}

// files opens the descriptors in the sets. Error: EBADF.
func (s *selectSets) files(c ctx, tab *fs.FDTable, n int) (fds fs.PollFDs, nums []int, err error) {
	for fd := range n {
		if err := c.pauseEvery(fd); err != nil {
			return fds, nums, err
		}
		var events uint32
		for i := range s {
			if s[i][fd/8]>>(fd%8)&1 != 0 {
				events |= selectEvents[i]
			}
		}
		if events == 0 {
			continue
		}
		f, err := tab.Get(fd)
		if err != nil {
			return fds, nums, err
		}
		fds.Add(fs.PollFD{File: f, Events: events})
		nums = append(nums, fd)
	}
	return fds, nums, nil
}

// results sets the bits of ready descriptors, clears the others, and counts the set ones.
func (s *selectSets) results(c ctx, fds fs.PollFDs, nums []int) (count uint64, err error) {
	var out selectSets
	for i := range s {
		out[i] = make([]byte, len(s[i]))
		nums := nums
		for _, piece := range fds {
			for j, fd := range nums[:len(piece)] {
				bit := byte(1) << (fd % 8)
				if s[i][fd/8]&bit != 0 && piece[j].Revents&selectEvents[i] != 0 {
					out[i][fd/8] |= bit
					count++
				}
			}
			nums = nums[len(piece):]
			if err := c.pauseEvery(len(piece) - 1); err != nil {
				return 0, err
			}
		}
	}
	*s = out
	return count, nil
}

func (c ctx) selectSetArgs() [3]arch.VA { return [3]arch.VA{c.va(1), c.va(2), c.va(3)} }

func sysSelect(c ctx) (uint64, error) {
	deadline := int64(math.MaxInt64)
	va := c.va(4)
	if va != 0 {
		tv, err := get[unix.Timeval](c, va)
		if err != nil {
			return 0, err
		}
		d, err := nanosecondsOfTimeval(tv)
		if err != nil {
			return 0, err
		}
		deadline = addTime(c.s.now(), d)
	}
	n, err := c.selectFDs(c.int(0), c.selectSetArgs(), deadline)
	if va != 0 {
		tv := timevalOf(max(deadline-c.s.now(), 0))
		_ = put(c, va, &tv) // ignored, as in timed
	}
	return n, noHand(err)
}

func sysPselect6(c ctx) (uint64, error) {
	var mask *proc.Sigset
	if va := c.va(5); va != 0 { // {pointer to the set, its size}
		p, err := get[[2]uint64](c, va)
		if err != nil {
			return 0, err
		}
		if mask, err = c.sigmask(arch.VA(p[0]), p[1]); err != nil {
			return 0, err
		}
	}
	return c.timed(c.va(4), mask, func(deadline int64) (uint64, error) {
		return c.selectFDs(c.int(0), c.selectSetArgs(), deadline)
	})
}

func (c ctx) epollCreate(cloexec bool) (uint64, error) {
	return c.installNew(cloexec)(c.s.fs.Epoll(c.task()))
}

func sysEpollCreate(c ctx) (uint64, error) {
	if c.int(0) <= 0 {
		return 0, syscall.EINVAL
	}
	return c.epollCreate(false)
}

func sysEpollCreate1(c ctx) (uint64, error) {
	if err := onlyFlags(c.int(0), unix.EPOLL_CLOEXEC); err != nil {
		return 0, err
	}
	return c.epollCreate(c.int(0) != 0)
}

func sysEpollCtl(c ctx) (uint64, error) {
	var ev fs.EpollEvent
	if c.int(1) != unix.EPOLL_CTL_DEL {
		var b [epollSizeARM64]byte
		size := c.s.tab.epollSize
		if err := c.mem().CopyIn(b[:size], c.va(3)); err != nil {
			return 0, err
		}
		ev = getEpollEvent(b[:], size)
	}
	ep, err := c.file(0)
	if err != nil {
		return 0, err
	}
	defer ep.Release()
	f, err := c.file(2)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	return 0, ep.EpollCtl(c.int(1), c.int(2), f, ev)
}

// maxEpollEvents bounds how many events one epoll_wait returns. The rest stays ready. It
// also bounds the memory of a thread that waits.
const maxEpollEvents = 128

func (c ctx) epollWait(deadline int64) (uint64, error) {
	n := c.int(2)
	size := c.s.tab.epollSize
	if n <= 0 || n > math.MaxInt32/epollSizeARM64 {
		return 0, syscall.EINVAL
	}
	if err := userRange(c.va(1), uint64(n*size)); err != nil {
		return 0, err
	}
	ep, err := c.file(0)
	if err != nil {
		return 0, err
	}
	defer ep.Release()
	va := c.va(1)
	k, err := ep.EpollWaitTo(c.task(), min(n, maxEpollEvents), deadline, func(evs []fs.EpollEvent) (int, error) {
		raw := make([]byte, len(evs)*size)
		for i, ev := range evs {
			putEpollEvent(raw[i*size:(i+1)*size], size, ev)
		}
		k, err := c.copyOut(va, raw)
		return k / size, err
	})
	return uint64(k), err
}

func sysEpollWait(c ctx) (uint64, error) {
	n, err := c.epollWait(c.milliseconds(c.int(3)))
	return n, eintr(err)
}

// eintr is for epoll_wait(2) and other calls that are never restarted after a signal
// (signal(7)).
func eintr(err error) error {
	if err == proc.ERESTARTSYS {
		return syscall.EINTR
	}
	return err
}

func sysEpollPwait(c ctx) (uint64, error) {
	mask, err := c.sigmask(c.va(4), c.arg(5))
	if err != nil {
		return 0, err
	}
	if mask != nil {
		c.t.SetMaskUntilReturn(*mask)
	}
	return sysEpollWait(c)
}

func sysEpollPwait2(c ctx) (uint64, error) {
	mask, err := c.sigmask(c.va(4), c.arg(5))
	if err != nil {
		return 0, err
	}
	deadline, err := c.deadline(c.va(3))
	if err != nil {
		return 0, err
	}
	if mask != nil {
		c.t.SetMaskUntilReturn(*mask)
	}
	n, err := c.epollWait(deadline)
	return n, eintr(err)
}
