package sys

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"grim/proc/cred"
)

// names has the names that sethostname(2) and setdomainname(2) set.
type names struct {
	mu           sync.Mutex
	host, domain string
}

// maxUTS is __NEW_UTS_LEN.
const maxUTS = 64

// setName implements sethostname(2) and setdomainname(2). The arguments are the name and
// its length.
func (c ctx) setName(to *string) (uint64, error) {
	if !c.t.Cred().Has(cred.SysAdmin) {
		return 0, syscall.EPERM
	}
	n := c.int(1)
	if n < 0 || n > maxUTS {
		return 0, syscall.EINVAL
	}
	b := make([]byte, n)
	if n > 0 {
		if err := c.mem().CopyIn(b, c.va(0)); err != nil {
			return 0, err
		}
	}
	c.s.uts.mu.Lock()
	*to = string(b)
	c.s.uts.mu.Unlock()
	return 0, nil
}

func sysSethostname(c ctx) (uint64, error)   { return c.setName(&c.s.uts.host) }
func sysSetdomainname(c ctx) (uint64, error) { return c.setName(&c.s.uts.domain) }

// utsFile makes a file of /proc/sys/kernel for one of the names.
func (s *System) utsFile(path string, name *string) {
	s.fs.ProcSetting(path, func() []byte {
		s.uts.mu.Lock()
		defer s.uts.mu.Unlock()
		return []byte(*name + "\n")
	}, func(v string) error {
		s.uts.mu.Lock()
		defer s.uts.mu.Unlock()
		*name = v[:min(len(v), maxUTS)]
		return nil
	})
}

// kernelTexts makes the files of /proc/sys/kernel with data of this package and of proc.
func (s *System) kernelTexts() {
	for path, n := range map[string]int{
		"sys/kernel/pid_max":     s.k.PIDMax(),
		"sys/kernel/ngroups_max": maxGroups,
		"sys/kernel/threads-max": s.k.PIDMax(),
	} {
		text := fmt.Appendln(nil, n)
		s.fs.ProcFile(path, func() []byte { return text })
	}
	s.utsFile("sys/kernel/hostname", &s.uts.host)
	s.utsFile("sys/kernel/domainname", &s.uts.domain)
	s.fs.ProcSetting("sys/kernel/ns_last_pid", func() []byte { return fmt.Appendln(nil, s.k.Totals().LastPID) }, func(v string) error {
		n, err := strconv.Atoi(strings.TrimSpace(v))
		if err != nil || !s.k.SetLastPID(n) {
			return syscall.EINVAL
		}
		return nil
	})
}
