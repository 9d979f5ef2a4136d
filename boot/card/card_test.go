package card

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"
)

// TestFiles: each board has what its loader looks for, and the command line.
func TestFiles(t *testing.T) {
	p := &Parts{Image: []byte("image"), Initrd: []byte("initrd"), CommandLine: "layout=separate selftest=quick"}
	want := map[string][]string{
		"rpi3":   {"kernel8.img", "initrd.cpio", "config.txt", "cmdline.txt"},
		"rpi4":   {"kernel8.img", "initrd.cpio", "config.txt", "cmdline.txt"},
		"imx8mp": {"grim/Image", "grim/initrd.cpio", "boot.scr"},
		"zcu102": {"grim/Image", "grim/initrd.cpio", "boot.scr"},
		"efi":    {"EFI/BOOT/BOOTAA64.EFI", "grim/initrd.cpio", "grim/cmdline.txt"},
	}
	if len(Boards()) != len(want) {
		t.Errorf("boards %v", Boards())
	}
	for _, name := range Boards() {
		files, err := Files(name, p)
		if err != nil {
			t.Fatal(err)
		}
		var have, all string
		for _, f := range files {
			have += f.Name + "\n"
			all += string(f.Data) + "\n"
		}
		for _, w := range append(want[name], "README.txt") {
			if !strings.Contains(have, w+"\n") {
				t.Errorf("%s: no file %s", name, w)
			}
		}
		if !strings.Contains(all, p.CommandLine) {
			t.Errorf("%s: the command line is in no file", name)
		}
	}
	if _, err := Files("toaster", p); err == nil || !strings.Contains(err.Error(), "BOARD is one of rpi3") {
		t.Errorf("unknown board: %v", err)
	}
}

// TestBootScript checks the header as U-Boot does.
func TestBootScript(t *testing.T) {
	const text = "echo hello\n"
	b := bootScript("Grim", text)
	be := binary.BigEndian
	if be.Uint32(b) != 0x27051956 {
		t.Errorf("magic %#x", be.Uint32(b))
	}
	head := append([]byte(nil), b[:64]...)
	sum := be.Uint32(head[4:])
	be.PutUint32(head[4:], 0)
	if sum != crc32.ChecksumIEEE(head) {
		t.Error("the header's checksum is wrong")
	}
	body := b[64:]
	if int(be.Uint32(b[12:])) != len(body) || be.Uint32(b[24:]) != crc32.ChecksumIEEE(body) {
		t.Error("the body's size or checksum is wrong")
	}
	if b[30] != 6 {
		t.Errorf("type %d, want a script, 6", b[30])
	}
	if be.Uint32(body) != uint32(len(text)) || be.Uint32(body[4:]) != 0 || string(body[8:]) != text {
		t.Errorf("body %q", body)
	}
}
