package image

import (
	"strings"
	"testing"
)

// TestEarlyPort: what is no port is refused with the list of those that are.
func TestEarlyPort(t *testing.T) {
	for port, want := range map[string]string{
		"":                    "is not one of pl011, ",
		"pl011":               "with @ADDRESS behind all but the last",
		"semihosting@1":       "with @ADDRESS behind all but the last",
		"acme@0x1000":         "is not one of",
		"pl011@here":          "invalid syntax",
		"pl011@1<<47":         "invalid syntax",
		"16550@0x1000+9":      "value out of range",
		"imx@0x30890000":      "not an ELF file",
		"16550@0x1000+0":      "not an ELF file",
		"semihosting":         "not an ELF file",
		"mini@0x3f215040":     "not an ELF file",
		"cadence@-1":          "invalid syntax",
		"sbsa@0xffff00000000": "value out of range",
	} {
		if err := Early(nil, port); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", port, err, want)
		}
	}
}
