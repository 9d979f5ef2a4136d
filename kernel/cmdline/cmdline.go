// Package cmdline reads the kernel command line. Before "--" there are words of the form
// name=value; after it there are the arguments of the first process. Words may be quoted as
// in a shell.
package cmdline

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/u-root/u-root/pkg/shlex"

	"grim/arch"
	"grim/boot/machine"
	"grim/proc"
	"grim/proc/exit"
)

// Options are the settings that a command line makes.
type Options struct {
	Layout    arch.Layout  // layout=: layout of processes that ask for no other
	Insist    bool         // layout=shared!: use the shared layout even if this CPU is open to Meltdown then
	Exit      *exit.Design // exit=: exit design of processes that ask for no other
	HugePages bool         // hugepages=: 2 MB blocks for anonymous memory
	ASLR      bool         // aslr=: programs get addresses that cannot be guessed
	SelfTest  string       // selftest=: none, or which tests run (all, quick, parts of names, -parts)
	Virtual   bool         // time=virtual: time is a count of instructions (QEMU's -icount), so tests can judge durations
	Root      string       // root=: the disk or partition (vda, /dev/vda1) with the root file system; "": in memory
	RootRO    bool         // ro: the root file system is not written to
	Init      string       // init=: path of the first process
	// Mitigations are the words of mitigations=: auto for what the CPU needs (package arch,
	// SPECULATION.md), off for nothing, and names of mitigations to turn on in any case, to
	// measure them.
	Mitigations []string
	Slice       time.Duration        // slice=: how long a thread runs while others are ready
	Crash       string               // crash=: how the kernel is to die once everything is up, to test the crash report; "no"
	CPUs        int                  // cpus=: the largest number of CPUs used
	Soak        time.Duration        // soak=: duration of the mixed load after the tests; 0: none
	Exits       uint                 // exits=: number of exits on each CPU, after the tests
	Seed        uint64               // seed=: seed of that load; 0: another seed in each boot
	VirtIO      []machine.MMIODevice // virtio_mmio.device=SIZE@ADDRESS:IRQ, as for Linux; once for each device
	Net         Net                  // ip=: how the network device gets its addresses
	Args        []string             // after "--": the arguments of the first process
}

// Net is how the network device is set up: by DHCP, unless there is
// ip=ADDRESS/LENGTH[,GATEWAY[,NAMESERVER]], or ip=none.
type Net struct {
	DHCP       bool
	Address    netip.Prefix // not valid: none
	Gateway    netip.Addr
	NameServer netip.Addr
}

// parseNet reads the value of ip=.
func parseNet(s string) (n Net, err error) {
	switch s {
	case "dhcp":
		return Net{DHCP: true}, nil
	case "none":
		return n, nil
	}
	bad := errors.New("it is dhcp, none, or ADDRESS/LENGTH[,GATEWAY[,NAMESERVER]], of IPv4")
	parts := strings.Split(s, ",")
	if n.Address, err = netip.ParsePrefix(parts[0]); err != nil || !n.Address.Addr().Is4() || len(parts) > 3 {
		return n, bad
	}
	for i, to := range []*netip.Addr{&n.Gateway, &n.NameServer}[:len(parts)-1] {
		if *to, err = netip.ParseAddr(parts[i+1]); err != nil || !to.Is4() {
			return n, bad
		}
	}
	return n, nil
}

// crashes are the values of crash=.
var crashes = []string{"no", "panic", "nil", "text", "stack", "stack-cpu1", "busy"}

// mitigations are the words of mitigations=. A machine ignores the mitigations that it does
// not have.
var mitigations = []string{"auto", "off", "ibpb", "ibrs", "verw", "ssbd", "bhb", "tlbi", "ctr"}

// choice is a flag.Value that accepts a fixed list of words.
type choice[T any] struct {
	dst   *T
	words []string
	vals  []T
}

func (c choice[T]) String() string { return "" }

// Set implements flag.Value; the error lists the good values.
func (c choice[T]) Set(s string) error {
	for i, w := range c.words {
		if w == s {
			*c.dst = c.vals[i]
			return nil
		}
	}
	return fmt.Errorf("it is one of %s", strings.Join(c.words, ", "))
}

// parseSlice reads a time slice. It is at least 100 us, below which a thread would do
// little else than be interrupted, and at most a second.
func parseSlice(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 100*time.Microsecond || d > time.Second {
		return 0, errors.New("it is a time from 100us to 1s")
	}
	return d, nil
}

// parseMMIO reads the place of a virtio device: SIZE@ADDRESS:IRQ. The size may end in K. An
// identifier after another colon is ignored.
func parseMMIO(s string) (d machine.MMIODevice, err error) {
	bad := fmt.Errorf("it is SIZE@ADDRESS:IRQ")
	size, rest, ok := strings.Cut(s, "@")
	base, irq, ok2 := strings.Cut(rest, ":")
	irq, _, _ = strings.Cut(irq, ":")
	if !ok || !ok2 {
		return d, bad
	}
	unit := uint64(1)
	if n, k := strings.CutSuffix(strings.ToUpper(size), "K"); k {
		size, unit = n, 1<<10
	}
	n, err1 := strconv.ParseUint(size, 0, 32)
	at, err2 := strconv.ParseUint(base, 0, 40)
	line, err3 := strconv.ParseUint(irq, 0, 10)
	if err1 != nil || err2 != nil || err3 != nil || n == 0 || n*unit > 1<<20 || at == 0 {
		return d, bad
	}
	return machine.MMIODevice{Range: machine.Range{Base: at, Size: n * unit}, IRQ: int(line)}, nil
}

// defaultCPUs is the maximum number of CPUs used without cpus=.
const defaultCPUs = 2

// Parse reads a command line. There is a warning for each word that it does not know. The
// error names a word whose value is not valid, and lists the valid values.
func Parse(line string) (o Options, warnings []string, err error) {
	o = Options{Exit: exit.Designs[0], HugePages: true, ASLR: true, SelfTest: "all", Init: "/init", Slice: proc.DefaultSlice, Crash: "no", CPUs: defaultCPUs, Net: Net{DHCP: true}}
	fs := flag.NewFlagSet("command line", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	type layout struct {
		arch.Layout
		insist bool
	}
	var l layout
	fs.Var(choice[layout]{&l, []string{"shared", "separate", "shared!"},
		[]layout{{arch.SharedUK, false}, {arch.Separate, false}, {arch.SharedUK, true}}}, "layout", "")
	fs.Func("mitigations", "", func(s string) error {
		o.Mitigations = strings.Split(s, ",")
		for _, w := range o.Mitigations {
			if !slices.Contains(mitigations, w) {
				return fmt.Errorf("it is one or more, with commas, of %s", strings.Join(mitigations, ", "))
			}
		}
		return nil
	})
	fs.Var(choice[*exit.Design]{&o.Exit, exit.Names(), exit.Designs}, "exit", "")
	fs.Var(choice[bool]{&o.HugePages, []string{"on", "off"}, []bool{true, false}}, "hugepages", "")
	fs.Var(choice[bool]{&o.ASLR, []string{"on", "off"}, []bool{true, false}}, "aslr", "")
	fs.Var(choice[bool]{&o.Virtual, []string{"virtual", "real"}, []bool{true, false}}, "time", "")
	fs.Var(choice[string]{&o.Crash, crashes, crashes}, "crash", "")
	fs.StringVar(&o.SelfTest, "selftest", o.SelfTest, "")
	fs.StringVar(&o.Root, "root", "", "")
	fs.StringVar(&o.Init, "init", o.Init, "")
	fs.Func("cpus", "", func(s string) (err error) {
		if o.CPUs, err = strconv.Atoi(s); err != nil || o.CPUs < 1 {
			return errors.New("it is a number of CPUs, at least 1")
		}
		return nil
	})
	fs.DurationVar(&o.Soak, "soak", 0, "")
	fs.UintVar(&o.Exits, "exits", 0, "")
	fs.Uint64Var(&o.Seed, "seed", 0, "")
	fs.Func("virtio_mmio.device", "", func(s string) error {
		d, err := parseMMIO(s)
		o.VirtIO = append(o.VirtIO, d)
		return err
	})
	fs.Func("ip", "", func(s string) (err error) {
		o.Net, err = parseNet(s)
		return err
	})
	fs.Func("slice", "", func(s string) (err error) {
		o.Slice, err = parseSlice(s)
		return err
	})

	words := shlex.Argv(line)
	for i, w := range words {
		if w == "--" {
			o.Args = words[i+1:]
			break
		}
		if w == "ro" || w == "rw" { // as on Linux, these two have no value
			o.RootRO = w == "ro"
			continue
		}
		name, value, ok := strings.Cut(w, "=")
		if fs.Lookup(name) == nil {
			warnings = append(warnings, fmt.Sprintf("unknown kernel argument %q ignored", w))
			continue
		}
		if !ok {
			return o, warnings, fmt.Errorf("kernel argument %q has no value: write %s=VALUE", w, name)
		}
		if err := fs.Set(name, value); err != nil {
			return o, warnings, fmt.Errorf("kernel argument %s=%s: %w", name, value, err)
		}
	}
	o.Layout, o.Insist = l.Layout, l.insist
	return o, warnings, nil
}
