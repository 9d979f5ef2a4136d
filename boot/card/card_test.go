package card

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"
)

// TestFiles: each board's card has the files that its loader looks for, and the command
// line.
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

// TestPiBoot: PiBoot finds on a Raspberry Pi's card what was put there, and reports
// anything that the firmware would not accept.
func TestPiBoot(t *testing.T) {
	image := make([]byte, 1<<20)
	binary.LittleEndian.PutUint64(image[16:], 20<<20)
	p := &Parts{Image: image, Initrd: []byte("initrd"), CommandLine: "layout=separate"}
	boot := func(edit func(name, text string) string) (*Parts, error) {
		files, err := Files("rpi3", p)
		if err != nil {
			t.Fatal(err)
		}
		m := map[string][]byte{}
		for _, f := range files {
			m[strings.ToUpper(f.Name)] = []byte(edit(f.Name, string(f.Data)))
		}
		return PiBoot(m)
	}
	got, err := boot(func(_, text string) string { return text })
	if err != nil || string(got.Image) != string(image) || string(got.Initrd) != "initrd" || !strings.HasSuffix(got.CommandLine, " layout=separate") {
		t.Errorf("%v, %v", got, err)
	}
	for _, c := range []struct{ from, to, want string }{
		{"kernel8.img", "kernel9.img", `wants a file "kernel9.img"`},
		{"initramfs initrd.cpio 0x8000000", "initramfs=initrd.cpio", "initramfs at 0x0"},
		{"0x8000000", "0x1000000", "initramfs at 0x1000000"},
		{"0x200000", "0x80000", "kernel at 0x80000"},
		{"arm_64bit=1", "", "not a 64-bit kernel"},
		{"enable_uart=1", "enable_uar=1", `no option "enable_uar"`},
		{"arm_64bit=1", "# " + strings.Repeat("x", 80), "reads 78 characters"},
	} {
		_, err := boot(func(name, text string) string {
			if name == "config.txt" {
				if !strings.Contains(text, c.from) {
					t.Errorf("config.txt has no %q", c.from)
				}
				text = strings.Replace(text, c.from, c.to, 1)
			}
			return text
		})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q for %q: %v, want %q", c.to, c.from, err, c.want)
		}
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
