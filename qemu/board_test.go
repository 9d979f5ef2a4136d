package qemu

import (
	"slices"
	"strings"
	"testing"

	"grim/boot/card"
)

// TestBoards: every board machine can be named, package card can make its card, and it gets
// its kernel in exactly one way.
func TestBoards(t *testing.T) {
	for _, b := range boards {
		m, err := Lookup(b.Arch, b.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		c := &Config{Machine: m, Memory: "3G", Kernel: "KERNEL", Initrd: "INITRD", Append: []string{"a=b"}, card: "CARD"}
		line := " " + strings.Join(c.Command(), " ") + " "
		if m.Board.Firmware != "" && m.Board.Card == "" {
			t.Errorf("%s: firmware %q, and no card", m.Name, m.Board.Firmware)
		}
		if m.Board.Card != "" && !slices.Contains(card.Boards(), m.Board.Card) {
			t.Errorf("%s: no board %q to make a card for", m.Name, m.Board.Card)
		}
		loaded := strings.Contains(line, " -kernel KERNEL ") && strings.Contains(line, " -initrd INITRD ") && strings.Contains(line, " -append a=b ")
		fromCard := strings.Contains(line, "file=CARD ") && !strings.Contains(line, "KERNEL")
		if loaded == fromCard || fromCard != (m.Board.Firmware != "") {
			t.Errorf("%s: %s", m.Name, line)
		}
		memory := "3G"
		if m.Board.Memory != "" {
			memory = m.Board.Memory
		}
		if !strings.Contains(line, " -m "+memory+" ") {
			t.Errorf("%s: memory is not %s: %s", m.Name, memory, line)
		}
	}
}

// TestMissing: the error names a missing file and the way to get it.
func TestMissing(t *testing.T) {
	m := Machine{Name: "future", Arch: "arm64", Board: &Board{Tree: "dtb/no-such.dtb", Since: 999}}
	err := m.Missing()
	if err == nil {
		t.Fatal("nothing is missing")
	}
	for _, want := range []string{"needs QEMU 999", "`qemu/boards.sh qemu10`", "needs build/boards/dtb/no-such.dtb: `qemu/boards.sh trees`"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want it to say %q", err, want)
		}
	}
}
