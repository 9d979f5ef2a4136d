package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var ttyTests = []test{
	{name: "tty-pair", run: ttyPair},
	{name: "tty-none", run: ttyNone},
	{name: "tty-session", run: ttySession},
	{name: "tty-hang-up", run: ttyHangUp},
	{name: "tty-leader-ends", run: ttyLeaderEnds},
}

func init() {
	helpers["helper-no-tty"] = func([]string) { noTTY() }
	helpers["helper-session"] = func([]string) { session() }
	helpers["helper-background"] = background
	helpers["helper-hup"] = func([]string) {
		hup := make(chan os.Signal, 1)
		signal.Notify(hup, unix.SIGHUP)
		fmt.Println("ready")
		<-hup
		os.Exit(42)
	}
	helpers["helper-leader"] = func([]string) {
		hup := self("helper-hup")
		hup.Stdin, hup.Stdout = os.Stdin, os.Stdout
		check("start", hup.Start())
		fmt.Fprintln(os.Stderr, hup.Process.Pid)
		time.Sleep(time.Minute) // until it is killed
	}
}

// openPTY makes a pseudo-terminal.
func openPTY() (master, slave *os.File) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	check("open of /dev/ptmx", err)
	check("TIOCSPTLCK", unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	check("TIOCGPTN", err)
	name := fmt.Sprint("/dev/pts/", n)
	s, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	check("open of "+name, err)
	return os.NewFile(uintptr(fd), "/dev/ptmx"), os.NewFile(uintptr(s), name)
}

// expect reads from a terminal until want has appeared.
func expect(f *os.File, want string) {
	got := ""
	buf := make([]byte, 256)
	for !strings.Contains(got, want) {
		n, err := unix.Read(int(f.Fd()), buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			fail("read %q, then %d, %v; want %q", got, n, err, want)
		}
		got += string(buf[:n])
	}
}

// ttyPair: the effects of the line discipline that a program sees.
func ttyPair() {
	m, s := openPTY()
	tio, err := unix.IoctlGetTermios(int(s.Fd()), unix.TCGETS)
	check("TCGETS", err)
	equal("c_iflag", tio.Iflag, unix.ICRNL|unix.IXON)
	equal("c_oflag", tio.Oflag, unix.OPOST|unix.ONLCR)
	equal("c_lflag", tio.Lflag, unix.ISIG|unix.ICANON|unix.ECHO|unix.ECHOE|unix.ECHOK|unix.ECHOCTL|unix.ECHOKE|unix.IEXTEN)
	equal("VWERASE", tio.Cc[unix.VWERASE], 23)
	w, err := unix.IoctlGetWinsize(int(s.Fd()), unix.TIOCGWINSZ)
	check("TIOCGWINSZ", err)
	equal("window", *w, unix.Winsize{})
	fmt.Fprint(m, "one two\x17three\x7f\r")
	expect(m, "one two\b \b\b \b\b \bthree\b \b\r\n")
	expect(s, "one thre\n")
	fmt.Fprintln(s, "out")
	expect(m, "out\r\n")
	link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", s.Fd()))
	check("readlink", err)
	equal("name", link, s.Name())
	n, err := unix.IoctlGetInt(int(s.Fd()), unix.TIOCOUTQ)
	check("TIOCOUTQ", err)
	equal("TIOCOUTQ", n, 0)
	s.Close()
	_, err = unix.Read(int(m.Fd()), make([]byte, 1))
	wantError("read of a master without slave", err, unix.EIO)
	m.Close()
	wantError("the name of a slave without master", unix.Access(link, unix.F_OK), unix.ENOENT)
}

// ttyNone: a session without a terminal has no /dev/tty, and cannot change another's
// terminal.
func ttyNone() {
	m, s := openPTY()
	defer m.Close()
	cmd := self("helper-no-tty")
	cmd.Stdin, cmd.Stderr = s, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	check("helper", cmd.Run())
}

func noTTY() {
	_, err := unix.Open("/dev/tty", unix.O_RDWR, 0)
	wantError("open of /dev/tty", err, unix.ENXIO)
	_, err = unix.IoctlGetInt(0, unix.TIOCGPGRP)
	wantError("TIOCGPGRP", err, unix.ENOTTY)
	_, err = unix.IoctlGetInt(0, unix.TIOCGSID)
	wantError("TIOCGSID", err, unix.ENOTTY)
	wantError("TIOCSPGRP", unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, os.Getpid()), unix.ENOTTY)
	check("TIOCSCTTY", unix.IoctlSetInt(0, unix.TIOCSCTTY, 0))
	pgid, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	check("TIOCGPGRP", err)
	equal("foreground", pgid, os.Getpid())
	fd, err := unix.Open("/dev/tty", unix.O_RDWR, 0)
	check("open of /dev/tty", err)
	wantError("a group that is not there", unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, 1<<22-1), unix.ESRCH)
	wantError("a negative group", unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, -1), unix.EINVAL)
	wantError("a group of another session", unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, os.Getppid()), unix.EPERM)
	signal.Ignore(unix.SIGHUP)
	check("TIOCNOTTY", unix.IoctlSetInt(fd, unix.TIOCNOTTY, 0))
	_, err = unix.Open("/dev/tty", unix.O_RDWR, 0)
	wantError("open of /dev/tty after TIOCNOTTY", err, unix.ENXIO)
}

// inSession makes a helper that leads a session with the slave as its terminal.
func inSession(s *os.File, args ...string) *exec.Cmd {
	cmd := self(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s, s, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	return cmd
}

// ttySession: ^C goes to the foreground. In the background, a process that reads, or that
// changes the terminal, is stopped. It continues in the foreground.
func ttySession() {
	m, s := openPTY()
	cmd := inSession(s, "helper-session")
	check("start", cmd.Start())
	s.Close()
	expect(m, "type a line")
	fmt.Fprint(m, "hello\r")
	expect(m, "got hello")
	expect(m, "interrupt me")
	fmt.Fprint(m, "\x03")
	check("helper", cmd.Wait())
}

func session() {
	signal.Ignore(unix.SIGTTOU) // this process brings others to the front
	front := func(pgid int) { check("TIOCSPGRP", unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, pgid)) }
	for what, sig := range map[string]unix.Signal{"read": unix.SIGTTIN, "set": unix.SIGTTOU, "write": unix.SIGTTOU} {
		cmd := self("helper-background", what)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		check("start", cmd.Start())
		pid := cmd.Process.Pid
		var st unix.WaitStatus
		_, err := unix.Wait4(pid, &st, unix.WUNTRACED, nil)
		check("wait for "+what, err)
		if !st.Stopped() || st.StopSignal() != sig {
			fail("%s in the background: status %#x", what, st)
		}
		front(pid)
		if what == "read" {
			fmt.Println("type a line")
		}
		check("SIGCONT", unix.Kill(-pid, unix.SIGCONT))
		_, err = unix.Wait4(pid, &st, 0, nil)
		check("wait for "+what, err)
		equal(what+" in the foreground", st, 0)
		front(os.Getpid())
	}
	cmd := self("helper-background", "interrupt")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Foreground: true}
	check("start", cmd.Start())
	var st unix.WaitStatus
	_, err := unix.Wait4(cmd.Process.Pid, &st, 0, nil)
	check("wait", err)
	if !st.Signaled() || st.Signal() != unix.SIGINT {
		fail("after ^C: status %#x", st)
	}
}

// background uses the terminal, which is standard input.
func background(args []string) {
	// The parent ignores the signal, and programs inherit that.
	sigaction(unix.SIGTTOU, 0)
	switch args[0] {
	case "read":
		buf := make([]byte, 80)
		n, err := unix.Read(0, buf)
		check("read", err)
		fmt.Printf("got %s", buf[:n])
	case "set":
		tio, err := unix.IoctlGetTermios(0, unix.TCGETS)
		check("TCGETS", err)
		check("TCSETS", unix.IoctlSetTermios(0, unix.TCSETS, tio))
	case "write": // is allowed unless TOSTOP is set; setting it stops the process
		tio, err := unix.IoctlGetTermios(0, unix.TCGETS)
		check("TCGETS", err)
		fmt.Println("a line from the background")
		tio.Lflag |= unix.TOSTOP
		check("TCSETS", unix.IoctlSetTermios(0, unix.TCSETS, tio))
	case "interrupt":
		fmt.Println("interrupt me")
		time.Sleep(time.Minute)
	}
}

// ttyHangUp: when the master is closed, the leader of the session gets SIGHUP.
func ttyHangUp() {
	m, s := openPTY()
	cmd := inSession(s, "helper-hup")
	check("start", cmd.Start())
	expect(m, "ready")
	m.Close()
	n, err := unix.Read(int(s.Fd()), make([]byte, 1))
	equal("read of a slave without master", n, 0)
	check("read", err)
	_, err = unix.Write(int(s.Fd()), make([]byte, 1))
	wantError("write to it", err, unix.EIO)
	_, err = unix.IoctlGetTermios(int(s.Fd()), unix.TCGETS)
	wantError("TCGETS of it", err, unix.EIO)
	_ = cmd.Wait()
	equal("status", cmd.ProcessState.ExitCode(), 42)
}

// ttyLeaderEnds: when a session's leader ends, the foreground gets SIGHUP. The terminal
// then belongs to no session, and keeps working.
func ttyLeaderEnds() {
	m, s := openPTY()
	r, w, err := os.Pipe()
	check("pipe", err)
	cmd := inSession(s, "helper-leader")
	cmd.Stderr = w
	check("start", cmd.Start())
	w.Close()
	expect(m, "ready")
	var pid int
	fmt.Fscan(r, &pid)
	check("subreaper", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	check("kill", cmd.Process.Kill())
	_ = cmd.Wait()
	var st unix.WaitStatus
	_, err = unix.Wait4(pid, &st, 0, nil)
	check("wait", err)
	equal("status", st.ExitStatus(), 42)
	fmt.Fprintln(s, "still a terminal")
	expect(m, "still a terminal")
	sid, err := unix.IoctlGetInt(int(m.Fd()), unix.TIOCGSID)
	if err == nil && sid != 0 || err != nil && err != unix.ENOTTY {
		fail("the terminal is that of session %d, %v", sid, err)
	}
}
