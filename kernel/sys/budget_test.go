package sys

import (
	"math"
	"strings"
	"syscall"
	"testing"

	"grim/mm/charge"
)

// When the user's share is used up, calls that may need much kernel memory fail with
// ENOMEM. They work again later.
func TestBudget(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.passes(func(u *user) {
			u.store(dataVA, make([]byte, 8*64))
			account := m.k.Process(int(u.ok("getpid"))).Account()
			charges := account.User().System()
			charges.SetLimits(charge.Config{HeapLimit: 1 << 20})
			defer charges.SetLimits(charge.Config{HeapLimit: math.MaxInt64, FrameLimit: math.MaxInt64})
			spent := int64(0)
			for account.Take(charge.Call, 4096) {
				spent += 4096
			}
			u.ok("ppoll", dataVA, 5, dataVA+4096, 0, 0)
			u.want(syscall.ENOMEM, "ppoll", dataVA, 60, dataVA+4096, 0, 0)
			u.want(syscall.ENOMEM, "pselect6", 60, dataVA, 0, 0, dataVA+4096, 0)
			u.want(syscall.ENOMEM, "execve", u.str("/dev/null"), u.strings(0x20_0000, strings.Repeat("a", 20000)), 0)
			account.Give(charge.Call, spent)
			u.ok("ppoll", dataVA, 60, dataVA+4096, 0, 0)
		})
	})
}
