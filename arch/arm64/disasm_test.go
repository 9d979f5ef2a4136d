package arm64

import "testing"

func TestDisassemble(t *testing.T) {
	for _, c := range []struct {
		text []byte
		want string
	}{
		{[]byte{0x20, 0x00, 0x00, 0xf9}, "0x1000: MOVD R0, (R1)"},
		{[]byte{0xff, 0xff, 0xff, 0x17}, "0x1000: JMP -1(PC)"},
		{[]byte{0, 0, 0, 0}, "0x1000: no instruction"},
		{[]byte{0x20, 0x00, 0x00}, "0x1000: no instruction"},
		{nil, "0x1000: no instruction"},
	} {
		if got := Disassemble(0x1000, c.text); got != c.want {
			t.Errorf("%x: %q, want %q", c.text, got, c.want)
		}
	}
}
