package kernel

import "testing"

func TestProcFiles(t *testing.T) {
	for _, c := range []struct{ name, got, want string }{
		{"version", string(versionText("6.1.0", "go1.26")), "Linux version 6.1.0 (grim) (go1.26)\n"},
		{"uptime", string(uptimeText(61_234_567_890)), "61.23 0.00\n"},
		{"cpuinfo", string(cpuinfoText("Fast, 1 MHz")), "processor\t: 0\nmodel name\t: Fast, 1 MHz\n\n"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.name, c.got, c.want)
		}
	}
}
