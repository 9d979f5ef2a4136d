package machine

import "fmt"

// fdtScreen finds a framebuffer, unless firmware has reported one (Linux binding
// simple-framebuffer.yaml). A framebuffer that is described wrongly does not prevent
// booting.
func (in *Info) fdtScreen(root *node) error {
	n := root.find(func(n *node) bool { return n.compatible("simple-framebuffer") && n.enabled() })
	if n == nil || in.Screen.Size != 0 {
		return nil
	}
	at := n
	if m := root.phandle(n.u32("memory-region", 0)); m != nil {
		at = m
	}
	r, err := at.reg()
	s := Screen{
		Range: r, Format: n.text("format"),
		Width: int(n.u32("width", 0)), Height: int(n.u32("height", 0)), Stride: int(n.u32("stride", 0)),
	}
	if err == nil {
		err = s.check()
	}
	if err != nil {
		in.warn("%s: %v", n, err)
		return nil
	}
	in.Screen = s
	return nil
}

// maxScreen bounds the size of a framebuffer: 8K with 4 bytes a pixel.
const maxScreen = 256 << 20

// check refuses what could do harm. Package boot/screen refuses what it cannot show.
func (s *Screen) check() error {
	if s.Size == 0 || s.Size > maxScreen || s.Base%pageSize != 0 {
		return fmt.Errorf("framebuffer %v is empty, over %d MB or not on a page boundary", s.Range, maxScreen>>20)
	}
	return nil
}
