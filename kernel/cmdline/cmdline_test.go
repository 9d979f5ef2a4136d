package cmdline

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"grim/arch"
	"grim/boot/machine"
	"grim/proc"
	"grim/proc/exit"
)

func TestParse(t *testing.T) {
	def := Options{Exit: &exit.Purge, HugePages: true, ASLR: true, SelfTest: "all", Init: "/init", Slice: proc.DefaultSlice, Crash: "no", CPUs: 2, Net: Net{DHCP: true}}
	with := func(f func(*Options)) Options { o := def; f(&o); return o }
	for _, c := range []struct {
		line     string
		want     Options
		warnings int
	}{
		{"", def, 0},
		{"layout=separate exit=reaper", with(func(o *Options) { o.Layout, o.Exit = arch.Separate, &exit.Reaper }), 0},
		{"hugepages=off selftest=none init=/program -- -c exit layout=shared", with(func(o *Options) {
			o.HugePages, o.SelfTest, o.Init = false, "none", "/program"
			o.Args = []string{"-c", "exit", "layout=shared"}
		}), 0},
		{`init=/bin/sh -- -c 'echo a  b; exit 3' "it's"`, with(func(o *Options) {
			o.Init, o.Args = "/bin/sh", []string{"-c", "echo a  b; exit 3", "it's"}
		}), 0},
		{"layout=shared! mitigations=auto,ssbd", with(func(o *Options) {
			o.Insist, o.Mitigations = true, []string{"auto", "ssbd"}
		}), 0},
		{"virtio_mmio.device=512@0xfeb00e00:23 virtio_mmio.device=4K@0x10000000:5:1", with(func(o *Options) {
			o.VirtIO = []machine.MMIODevice{
				{Range: machine.Range{Base: 0xfeb00e00, Size: 512}, IRQ: 23}, {Range: machine.Range{Base: 0x10000000, Size: 4096}, IRQ: 5},
			}
		}), 0},
		{"ip=10.0.2.15/24,10.0.2.2", with(func(o *Options) {
			o.Net = Net{Address: netip.MustParsePrefix("10.0.2.15/24"), Gateway: netip.MustParseAddr("10.0.2.2")}
		}), 0},
		{"ip=none", with(func(o *Options) { o.Net = Net{} }), 0},
		{"ip=dhcp", def, 0},
		{"root=/dev/vda1 ro", with(func(o *Options) { o.Root, o.RootRO = "/dev/vda1", true }), 0},
		{"aslr=off", with(func(o *Options) { o.ASLR = false }), 0},
		{"slice=2ms quiet panic=-1", with(func(o *Options) { o.Slice = 2 * time.Millisecond }), 2},
	} {
		got, warnings, err := Parse(c.line)
		if err != nil || !reflect.DeepEqual(got, c.want) || len(warnings) != c.warnings {
			t.Errorf("%q: %+v, %q, %v; want %+v and %d warnings", c.line, got, warnings, err, c.want, c.warnings)
		}
	}
	for line, want := range map[string]string{
		"layout=both":                "one of shared, separate, shared!",
		"mitigations=off,all":        "one or more, with commas, of auto, off",
		"exit=never":                 "one of purge, reaper, inline, parent, eager",
		"crash=now":                  "one of no, panic, nil, text, stack, stack-cpu1, busy",
		"layout":                     "write layout=VALUE",
		"slice=1us":                  "from 100us to 1s",
		"virtio_mmio.device=512@x:1": "it is SIZE@ADDRESS:IRQ",
		"virtio_mmio.device=0@1:1":   "it is SIZE@ADDRESS:IRQ",
		"hugepages=yes":              "one of on, off",
	} {
		if _, _, err := Parse(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}
