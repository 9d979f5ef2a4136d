package qemu

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"time"
)

// Poke is a store to a physical address before the machine starts. With it, a model does
// what a boot loader does on a real board. Data is in the order of memory.
type Poke struct {
	At   uint64
	Data []byte
}

// pokeArgs stop the machine before its first instruction, for pokeAll.
func pokeArgs(socket string) []string {
	return []string{"-S", "-gdb", "unix:" + socket + ",server=on,wait=off"}
}

// pokeAll makes the stores and starts the machine, through QEMU's GDB server (GDB manual,
// appendix "GDB Remote Serial Protocol").
func pokeAll(socket string, pokes []Poke) error {
	var c net.Conn
	var err error
	for range 100 { // until QEMU has opened the socket
		if c, err = net.Dial("unix", socket); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	order := func(packet string) error {
		sum := byte(0)
		for i := range len(packet) {
			sum += packet[i]
		}
		fmt.Fprintf(c, "$%s#%02x", packet, sum)
		answer, err := r.ReadString('#')
		if err == nil {
			_, err = r.Discard(2)
		}
		if err == nil && answer != "+$OK#" {
			err = errors.New("GDB server, " + packet + ": " + answer)
		}
		fmt.Fprint(c, "+")
		return err
	}
	if err := order("Qqemu.PhyMemMode:1"); err != nil {
		return err
	}
	for _, p := range pokes {
		if err := order(fmt.Sprintf("M%x,%x:%x", p.At, len(p.Data), p.Data)); err != nil {
			return err
		}
	}
	return order("D")
}
