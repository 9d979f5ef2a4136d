// Command init is Grim's first process. As a demonstration it shows the exit of a child
// that has touched 16 MB as a timeline, once under each exit design. Then it ends, and with
// it the machine. With the argument "shell" it is the first process of an interactive boot,
// and ends when the shell ends.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"time"

	"grim/proc/exit"
)

// touched is how much memory the demonstrated child touches.
const touched = 16 << 20

func main() {
	if len(os.Args) == 2 && os.Args[1] == "touch" {
		touch()
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
	cmd := exec.Command("/proc/self/exe", "touch")
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
	fmt.Printf("\nexit=%s: a child that touched %d MB\n", d, touched>>20)
	if w := d.Warning(); w != "" {
		fmt.Println(w)
	}
	draw(os.Stdout, steps)
	return nil
}

// touch is the child: it writes to each page of new memory.
func touch() {
	b := make([]byte, touched)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
}
