package fs

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"grim/mm/vm"
)

// knob is a number or a text of /proc/sys that is only kept: it is read back as it was
// written.
type knob struct {
	mu   sync.Mutex
	text string
}

func (k *knob) get() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return []byte(k.text + "\n")
}

// setText returns a function that takes any text of up to limit bytes; else EINVAL.
func (k *knob) setText(limit int) func(string) error {
	return func(v string) error {
		if len(v) > limit {
			return syscall.EINVAL
		}
		k.mu.Lock()
		k.text = v
		k.mu.Unlock()
		return nil
	}
}

// setNumbers takes at most as many decimal numbers as the text has now. A shorter list
// replaces the first ones. Else EINVAL.
func (k *knob) setNumbers(v string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := strings.Fields(k.text)
	words := strings.Fields(v)
	if len(words) == 0 || len(words) > len(old) {
		return syscall.EINVAL
	}
	for i, w := range words {
		n, err := strconv.ParseInt(w, 10, 64)
		if err != nil {
			return syscall.EINVAL
		}
		old[i] = strconv.FormatInt(n, 10)
	}
	k.text = strings.Join(old, "\t")
	return nil
}

// settled has the texts of /proc that never change, by path.
var settled = map[string]string{
	"filesystems": "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tpipefs\nnodev\tsockfs\n",
	"partitions":  "major minor  #blocks  name\n\n",
	"swaps":       "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
	"modules":     "",
	"devices":     "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n\nBlock devices:\n",
	"diskstats":   "",
	"misc":        "",
	"locks":       "",

	"sys/kernel/ostype":                    "Linux",
	"sys/kernel/version":                   "grim",
	"sys/kernel/cap_last_cap":              "40",
	"sys/kernel/tainted":                   "0",
	"sys/kernel/overflowuid":               "65534",
	"sys/kernel/overflowgid":               "65534",
	"sys/kernel/unprivileged_bpf_disabled": "2",
	"sys/kernel/perf_event_paranoid":       "3",
	"sys/kernel/random/poolsize":           "256",
	"sys/kernel/random/entropy_avail":      "256",
	"sys/vm/overcommit_memory":             "0",
	"sys/vm/overcommit_ratio":              "50",
	"sys/vm/overcommit_kbytes":             "0",
	"sys/vm/max_map_count":                 "65530",
	"sys/vm/mmap_min_addr":                 strconv.FormatUint(uint64(vm.MinAddr), 10),
	"sys/vm/nr_hugepages":                  "0",
	"sys/vm/nr_overcommit_hugepages":       "0",
	"sys/vm/swappiness":                    "0",
	"sys/vm/unprivileged_userfaultfd":      "0",
	"sys/fs/nr_open":                       strconv.Itoa(MaxFDs),
	"sys/fs/file-max":                      fileMax, // package charge bounds files, per user
	"sys/fs/aio-max-nr":                    "0",
	"sys/fs/aio-nr":                        "0",
	"sys/fs/suid_dumpable":                 "0",
	"sys/fs/overflowuid":                   "65534",
	"sys/fs/overflowgid":                   "65534",
	"sys/fs/protected_hardlinks":           "0",
	"sys/fs/protected_symlinks":            "0",
	"sys/fs/protected_fifos":               "0",
	"sys/fs/protected_regular":             "0",
	"sys/fs/pipe-max-size":                 strconv.Itoa(pipeMaxPages * pipePage),
	"sys/fs/pipe-user-pages-soft":          "0", // package charge bounds pipes
	"sys/fs/pipe-user-pages-hard":          "0",
	"sys/fs/mount-max":                     "100000",
	"sys/fs/epoll/max_user_watches":        "65536",
	"sys/fs/inotify/max_queued_events":     strconv.Itoa(maxInEvents),
	"sys/fs/inotify/max_user_instances":    strconv.Itoa(maxInotifies),
	"sys/fs/inotify/max_user_watches":      "65536", // package charge bounds them
	"sys/net/core/somaxconn":               "4096",
	"sys/net/core/rmem_default":            "212992",
	"sys/net/core/rmem_max":                "212992",
	"sys/net/core/wmem_default":            "212992",
	"sys/net/core/wmem_max":                "212992",
	"sys/net/unix/max_dgram_qlen":          "10",
}

// knobs are the numbers of /proc/sys that root may write and that have no effect here: the
// things that they control on Linux do not exist (core files, crash behaviour, a page cache
// apart from the files, real-time scheduling).
var knobs = map[string]string{
	"sys/kernel/core_uses_pid":          "0",
	"sys/kernel/panic":                  "0",
	"sys/kernel/panic_on_oops":          "0",
	"sys/kernel/printk":                 "4\t4\t1\t7",
	"sys/kernel/sysrq":                  "0",
	"sys/kernel/dmesg_restrict":         "1",
	"sys/kernel/kptr_restrict":          "2",
	"sys/kernel/sched_rt_period_us":     "1000000",
	"sys/kernel/sched_rt_runtime_us":    "950000",
	"sys/kernel/sched_child_runs_first": "0",
	"sys/vm/drop_caches":                "0",
	"sys/vm/compact_memory":             "0",
	"sys/vm/min_free_kbytes":            "0",
	"sys/vm/panic_on_oom":               "0",
	"sys/vm/oom_kill_allocating_task":   "0",
	"sys/vm/vfs_cache_pressure":         "100",
	"sys/vm/dirty_ratio":                "20",
	"sys/vm/dirty_background_ratio":     "10",
	"sys/vm/dirty_expire_centisecs":     "3000",
	"sys/fs/lease-break-time":           "45",
	"sys/fs/leases-enable":              "1",
}

// machineTexts adds the texts of /proc that do not depend on any process.
func (s *FS) machineTexts() {
	for _, path := range slices.Sorted(maps.Keys(settled)) {
		text := settled[path]
		if strings.HasPrefix(path, "sys/") {
			text += "\n"
		}
		b := []byte(text)
		s.ProcFile(path, func() []byte { return b })
	}
	for _, path := range slices.Sorted(maps.Keys(knobs)) {
		k := &knob{text: knobs[path]}
		s.ProcSetting(path, k.get, k.setNumbers)
	}
	core := &knob{text: "core"}
	s.ProcSetting("sys/kernel/core_pattern", core.get, core.setText(127))
	s.ProcFile("sys/kernel/random/boot_id", s.uuid(true))
	s.ProcFile("sys/kernel/random/uuid", s.uuid(false))
	s.ProcFile("sys/fs/dentry-state", func() []byte { return fmt.Appendf(nil, "%d\t0\t45\t0\t0\t0\n", s.inodes.Load()) })
	s.ProcFile("sys/fs/inode-state", func() []byte { return fmt.Appendf(nil, "%d\t0\t0\t0\t0\t0\t0\n", s.inodes.Load()) })
}

// uuid returns a function that makes a random UUID (RFC 9562, version 4): the same one at
// each reading if once is true, else a new one.
func (s *FS) uuid(once bool) func() []byte {
	gen := func() []byte {
		var b [16]byte
		s.cfg.Random(b[:])
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
		return fmt.Appendf(nil, "%x-%x-%x-%x-%x\n", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	}
	if once {
		return sync.OnceValue(gen)
	}
	return gen
}

// mountSys makes /sys. All its files are texts, which SysFile adds.
func (s *FS) mountSys() {
	p := &procfs{fs: s}
	s.sys = p
	p.root = &procDir{up: s.root, name: "sys", many: &manyKids{p.rootList, p.rootFind}}
	p.root.initFixed(s, devSys, 1, syscall.S_IFDIR, 0o555)
	s.root.give("sys", p.root)
	s.root.nlink.Add(1) // for its ".."
	for path, text := range map[string]string{
		"kernel/mm/transparent_hugepage/enabled":        "[always] madvise never",
		"kernel/mm/transparent_hugepage/hpage_pmd_size": "2097152",
		"kernel/mm/ksm/run":                             "0",
		"power/state":                                   "",
	} {
		s.SysFile(path, func() []byte { return []byte(text + "\n") })
	}
}

// SysFile makes /sys/path. It is like ProcFile.
func (s *FS) SysFile(path string, gen func() []byte) { s.sys.add(path, gen, nil) }
