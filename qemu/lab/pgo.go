package main

import (
	"context"
	"fmt"
	"os"

	pprof "github.com/google/pprof/profile"

	"grim/qemu/bench"
)

// callCases are the cases whose calls are counted: each of the kernel's hot paths, and none
// that repeats another with more pages.
var callCases = []string{
	"null_getpid", "page_fault", "switch_process", "fork_exit_wait", "thread_create_exit", "exec_exit_wait",
	"exit_anon_0MB", "exit_anon_4MB", "fork_dirty_1MB", "exit_file_1MB", "exit_shmem_1MB", "exit_maps_1000",
}

// calls writes a profile of the kernel's calls into a file, for the Go compiler's
// profile-guided optimisation. Both architectures go into one profile: the compiler looks at
// functions and lines only. The kernel must have been built without such a profile, since
// calls that are inlined are not seen.
func calls(ctx context.Context, o *options) error {
	var all []*pprof.Profile
	for _, arch := range o.archs {
		kernel, err := openKernel(grimImage(arch) + ".elf")
		if err != nil {
			return err
		}
		var sum bench.Calls
		for _, name := range callCases {
			one := *o
			one.cases = name
			one.reps, _ = bench.CanProfile(name)
			counts, title, err := traced(ctx, arch, &one, (*bench.Profile).CountCalls)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", name, arch, err)
			}
			sum.Add(counts)
			fmt.Println(title)
		}
		p, err := sum.Profile(kernel)
		if err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
		all = append(all, p)
	}
	out, err := pprof.Merge(all)
	if err != nil {
		return err
	}
	if err := writeFile(o.into, func(f *os.File) error { return out.Write(f) }); err != nil {
		return err
	}
	fmt.Printf("%s has %d calls between functions\n", o.into, len(out.Sample))
	return nil
}
