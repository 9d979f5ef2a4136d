// Command init is Grim's first process. As a demonstration it shows the exit of a child
// that has touched 16 MB as a timeline, once under each exit design. Then it ends, and with
// it the machine. With the argument "shell" it is the first process of an interactive boot,
// and ends when the shell ends.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"grim/proc/exit"
)

// touched is how much memory the demonstrated child touches, in MB. On a small machine it
// touches less: the child and its parent need some 10 MB besides.
const touched, little = 16, 4

func main() {
	if len(os.Args) == 3 && os.Args[1] == "touch" {
		touch(os.Args[2])
		return
	}
	if len(os.Args) >= 2 && os.Args[1] == "shell" {
		if err := shell(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "init:", err)
			os.Exit(1)
		}
		return
	}
	for _, d := range exit.Designs {
		if err := demonstrate(d); err != nil {
			fmt.Fprintln(os.Stderr, "init:", err)
			os.Exit(1)
		}
	}
}

// demonstrate runs one child under a design and draws its exit.
func demonstrate(d *exit.Design) error {
	const setting = "/proc/self/exit_policy" // inherited by children
	before, err := os.ReadFile(setting)
	if err != nil {
		return err
	}
	if err := os.WriteFile(setting, []byte(d.Name), 0); err != nil {
		return err
	}
	size := touched
	if free() < 2*touched {
		size = little
	}
	cmd := exec.Command("/proc/self/exe", "touch", strconv.Itoa(size))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("child: %w", err)
	}
	if err := os.WriteFile(setting, before, 0); err != nil {
		return err
	}
	time.Sleep(time.Millisecond) // some designs continue after the wait
	text, err := os.ReadFile("/proc/exits")
	if err != nil {
		return err
	}
	steps, err := parseExits(string(text), cmd.Process.Pid)
	if err != nil {
		return err
	}
	fmt.Printf("\nexit=%s: a child that touched %d MB\n", d, size)
	if w := d.Warning(); w != "" {
		fmt.Println(w)
	}
	draw(os.Stdout, steps)
	return nil
}

// free returns how much memory is free, in MB.
func free() int {
	var s syscall.Sysinfo_t
	if syscall.Sysinfo(&s) != nil {
		return 0
	}
	return int(uint64(s.Freeram) * uint64(s.Unit) >> 20)
}

// touch is the child: it writes to each page of so many MB of new memory.
func touch(size string) {
	mb, err := strconv.Atoi(size)
	if err != nil {
		fmt.Fprintln(os.Stderr, "init: touch:", err)
		os.Exit(2)
	}
	b := make([]byte, mb<<20)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
}
