package main

import (
	"debug/elf"
	"slices"
	"strings"
	"testing"
	"time"

	"grim/qemu/bench"
)

// Both kernels get the same machine. Only the kernel arguments differ.
func TestConfig(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		o := &options{cases: "exit_", reps: 7}
		g := &job{Setup: bench.Setup{Kernel: grim, Arch: arch, Layout: "separate", Exit: "reaper"}, program: "exitbench"}
		l := &job{Setup: bench.Setup{Kernel: "Linux 6.1", Arch: arch, Huge: true}, program: "exitbench"}
		gc, err := g.config(o)
		if err != nil {
			t.Fatal(err)
		}
		lc, err := l.config(o)
		if err != nil {
			t.Fatal(err)
		}
		ga, la := strings.Join(gc.Append, " "), strings.Join(lc.Append, " ")
		if want := "init=/init selftest=none layout=separate exit=reaper hugepages=off aslr=off -- -c exit_ -n 7"; ga != want {
			t.Errorf("Grim is given %q, want %q", ga, want)
		}
		if !strings.Contains(la, "transparent_hugepage=always") || !strings.HasSuffix(la, "-- -c exit_ -n 7") {
			t.Errorf("Linux is given %q", la)
		}
		gc.Append, lc.Append = nil, nil
		if !slices.Equal(gc.Command(), lc.Command()) || !gc.Icount {
			t.Errorf("the machines differ:\n%v\n%v", gc.Command(), lc.Command())
		}
		if g.log() == l.log() {
			t.Error("both boots write the same log")
		}
	}
}

// The text may arrive in pieces. Text after it does not change the time.
func TestFirstLine(t *testing.T) {
	f := &firstLine{start: time.Now().Add(-time.Hour), text: []byte("exitbench arch=")}
	f.Write([]byte("boot\nexitb"))
	if f.after != 0 {
		t.Error("half of the text is taken for it")
	}
	f.Write([]byte("ench arch=amd64\n"))
	if f.after < time.Hour {
		t.Errorf("seen after %v, want an hour", f.after)
	}
}

// Every setup of a program has its own column and its own log.
func TestSetups(t *testing.T) {
	for _, program := range []string{"exitbench", "workload"} {
		var runs []*bench.Run
		logs := map[string]bool{}
		for _, s := range setups("amd64", program) {
			runs = append(runs, &bench.Run{Setup: s})
			logs[(&job{Setup: s, program: program}).log()] = true
		}
		names := bench.Names(runs)
		slices.Sort(names)
		if len(slices.Compact(names)) != len(runs) || len(logs) != len(runs) {
			t.Errorf("%s: %d setups, columns %q, %d logs", program, len(runs), names, len(logs))
		}
		for _, want := range []string{"shared purge", "shared reaper", "shared purge 4 KB"} {
			if !slices.Contains(names, want) {
				t.Errorf("%s: no column %q", program, want)
			}
		}
	}
}

// A name selects the programs that have such a case. A name without a case is an error that
// lists the cases. Broken by choosePrograms that looks for the whole name.
func TestChoosePrograms(t *testing.T) {
	t.Chdir("../..")
	for name, want := range map[string]string{"": "exitbench workload", "exit_anon": "exitbench", "zomb": "workload", "exit_nothing": ""} {
		o := &options{programs: []string{"exitbench", "workload"}, cases: name}
		err := o.choosePrograms(t.Context())
		if err != nil && (want != "" || !strings.Contains(err.Error(), "touch_each_2MB")) {
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.Join(o.programs, " "); err == nil && got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	o := &options{cases: "exit_", into: "README.md"}
	if err := o.run(t.Context(), "compare"); err == nil {
		t.Error("a part of the cases may replace a whole run's tables")
	}
}

// The profiler knows how every case of the program on one CPU is measured, on both
// architectures. It refuses the cases on several CPUs. Broken by sequences without "touch_".
func TestEveryCaseHasAWindow(t *testing.T) {
	t.Chdir("../..")
	names, err := list(t.Context(), "exitbench")
	if err != nil || len(names) < 28 {
		t.Fatalf("%d cases, %v", len(names), err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		path, err := buildProgram(t.Context(), arch, "exitbench")
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, name := range names {
			w, _, err := bench.FindWindow(f, name)
			if bench.OnSeveralCPUs(name) {
				if err == nil {
					t.Errorf("%s: a window of %s, which runs on several CPUs", arch, name)
				}
				continue
			}
			if err != nil || w.From == 0 || w.To == 0 {
				t.Errorf("%s: %+v, %v", arch, w, err)
			}
		}
	}
}
