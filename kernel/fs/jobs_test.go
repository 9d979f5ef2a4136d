package fs

import (
	"encoding/binary"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeJobs has the sessions of processes and of groups.
type fakeJobs struct {
	sessions, groups map[int]int
	front            []syscall.Signal // signals sent to groups in the background
	answer           error            // the result of Background
}

func (j *fakeJobs) SessionOf(pid int) int     { return j.sessions[pid] }
func (j *fakeJobs) GroupSession(pgid int) int { return j.groups[pgid] }
func (j *fakeJobs) GroupOf(pid int) int       { return pid }

func (j *fakeJobs) Background(_ Task, sig syscall.Signal) error {
	j.front = append(j.front, sig)
	return j.answer
}

// pidTask is a thread of process pid.
type pidTask struct {
	*testTask
	pid int
}

func (t pidTask) IDs() (int, int) { return t.pid, t.pid }

// The terminal belongs to the session whose leader took it. Only that session's processes
// change its foreground group, and only to a group of the session (ioctl_tty(2)).
// Broken by: setGroup without mineLocked; setGroup that takes a group of another session.
func TestTTYSession(t *testing.T) {
	w := newWorld(t)
	// Session 10 with processes 10 and 11 and groups 10 and 11; session 20; process 31
	// of session 30, whose leader has ended.
	w.cfg.Jobs = &fakeJobs{sessions: map[int]int{10: 10, 11: 10, 20: 20, 31: 30}, groups: map[int]int{10: 10, 11: 10, 20: 20, 31: 30}}
	f := w.open("/dev/console", unix.O_RDWR|unix.O_NONBLOCK)
	defer f.Release()
	do := func(pid int, req uint32, arg int) (int, error) {
		mem := make(flatMemory, 4)
		va := uint64(0)
		if req == unix.TIOCSPGRP {
			binary.LittleEndian.PutUint32(mem, uint32(arg))
		} else {
			va = uint64(arg)
		}
		_, err := f.Ioctl(pidTask{w.task, pid}, mem, req, va)
		return int(int32(binary.LittleEndian.Uint32(mem))), err
	}
	for i, c := range []struct {
		pid  int
		req  uint32
		arg  int
		want error
		get  int // what a TIOCG call stores
	}{
		{10, unix.TIOCGPGRP, 0, syscall.ENOTTY, 0},
		{10, unix.TIOCSPGRP, 10, syscall.ENOTTY, 0},
		{11, unix.TIOCSCTTY, 0, syscall.EPERM, 0}, // leads no session
		{10, unix.TIOCSCTTY, 0, nil, 0},
		{10, unix.TIOCSCTTY, 0, nil, 0}, // it has the terminal already
		{11, unix.TIOCGSID, 0, nil, 10},
		{11, unix.TIOCGPGRP, 0, nil, 10},
		{11, unix.TIOCSPGRP, 11, nil, 0},
		{10, unix.TIOCGPGRP, 0, nil, 11},
		{10, unix.TIOCSPGRP, 20, syscall.EPERM, 0},
		{10, unix.TIOCSPGRP, 99, syscall.ESRCH, 0},
		{10, unix.TIOCSPGRP, -1, syscall.EINVAL, 0},
		{20, unix.TIOCSPGRP, 20, syscall.ENOTTY, 0},
		{20, unix.TIOCGSID, 0, syscall.ENOTTY, 0},
		{20, unix.TIOCSCTTY, 0, syscall.EPERM, 0}, // session 10 has it
		{20, unix.TIOCNOTTY, 0, syscall.ENOTTY, 0},
		{11, unix.TIOCNOTTY, 0, nil, 0}, // not the leader: the session keeps it
		{11, unix.TIOCGPGRP, 0, nil, 11},
		{20, unix.TIOCSCTTY, 1, nil, 0}, // stolen
		{20, unix.TIOCGPGRP, 0, nil, 20},
		{10, unix.TIOCGPGRP, 0, syscall.ENOTTY, 0},
		{20, unix.TIOCNOTTY, 0, nil, 0},
		{20, unix.TIOCGPGRP, 0, syscall.ENOTTY, 0},
	} {
		got, err := do(c.pid, c.req, c.arg)
		if err != c.want || err == nil && c.get != 0 && got != c.get {
			t.Errorf("%d: process %d, request %#x, %d: %d, %v; want %d, %v", i, c.pid, c.req, c.arg, got, err, c.get, c.want)
		}
	}
	w.TTY().Control(30, 31)
	if _, err := do(10, unix.TIOCSCTTY, 0); err != nil {
		t.Errorf("the leader of the terminal's session has ended: %v", err)
	}
}
