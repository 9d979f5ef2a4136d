package sys

import (
	delf "debug/elf"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/mm/charge"
	"grim/proc/elf"
)

// longStart is an execve(2) with the maximum size of strings.
type longStart struct {
	path   string
	n      int    // strings of the environment, all the same
	text   string // each of them
	before []string
}

func (l longStart) exec(u *user) uint64 {
	const size = 8 << 20
	at := arch.VA(u.ok("mmap", 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE, ^uint64(0), 0))
	u.store(at, append([]byte(l.text), 0))
	env := at + arch.VA(len(l.text)+1+15)&^15
	var b []byte
	for range l.n {
		b = le.AppendUint64(b, uint64(at))
	}
	u.store(env, append(b, make([]byte, 8)...))
	return u.call("execve", u.str(l.path), u.strings(dataVA, "first", "second"), uint64(env))
}

// The strings of an execve(2) and the new stack need no large object, whatever their
// length. All memory for them is charged and given back. The cases are: strings that are
// longer than a piece, more strings than a piece has room for, and those of a script, whose
// first string is replaced. The test fails if room makes pieces of 4 * elf.PieceSize, if
// room does not charge, and if put does not give back.
func TestExecLong(t *testing.T) {
	long := strings.Repeat("x", 131000)
	for _, l := range []longStart{
		{"/tmp/prog", 14, long, nil},
		{"/tmp/prog", 15, long[:elf.PieceSize-1], nil},
		{"/tmp/prog", 200_000, "", nil},
		{"/tmp/prog", 100_000, "a=2", nil},
		{"/tmp/script", 14, long, []string{"/tmp/prog", "-x", "/tmp/script"}},
	} {
		m := newMachine(t, 0, 8192)
		m.litters = true
		m.writeFile("/tmp/prog", m.executable(delf.ET_EXEC, nil), 0o755)
		m.writeFile("/tmp/script", []byte("#!/tmp/prog -x\n"), 0o755)
		charges := m.s.cfg.VM.Charges()
		var largest, sum int64
		charges.Refuse(func(k charge.Kind, n int64) bool {
			if k == charge.Call {
				largest, sum = max(largest, n), sum+n
			}
			return false
		})
		argv := append(append([]string(nil), l.before...), "first", "second")
		if l.before != nil {
			argv = append(append([]string(nil), l.before...), "second")
		}
		m.anywhere = func(u *user) {
			if n := charges.Totals()[charge.Call]; n != 0 {
				t.Errorf("%d bytes are still charged for the call", n)
			}
			checkLong(u, argv, l)
			u.exit(7)
		}
		st := m.run(func(u *user) {
			t.Errorf("execve came back: %d", int64(l.exec(u)))
			u.exit(1)
		})
		charges.Refuse(nil)
		text := int64(l.n * (len(l.text) + 1))
		if st.ExitStatus() != 7 || largest > elf.PieceSize || sum < text-3*elf.PieceSize {
			t.Errorf("%s with %d strings of %d bytes: status %#x, charges of at most %d bytes, %d in all",
				l.path, l.n, len(l.text), st, largest, sum)
		}
	}
}

// checkLong checks a new stack.
func checkLong(u *user, argv []string, l longStart) {
	t := u.m.t
	sp := arch.VA(u.u.Frame[u.m.abi.SP])
	words := u.load(sp, 8*(1+len(argv)+1+l.n+1))
	word := func(i int) arch.VA { return arch.VA(le.Uint64(words[8*i:])) }
	if int(word(0)) != len(argv) || word(1+len(argv)) != 0 || word(2+len(argv)+l.n) != 0 {
		t.Errorf("argc %d, %#x after argv, %#x after envp", word(0), word(1+len(argv)), word(2+len(argv)+l.n))
	}
	at := word(1)
	for i, want := range argv {
		if s := u.cstring(word(1 + i)); s != want || word(1+i) != at {
			t.Errorf("argv[%d] is %q, at %#x, want %q at %#x", i, s, word(1+i), want, at)
		}
		at += arch.VA(len(want) + 1)
	}
	for i := range l.n {
		if p := word(2 + len(argv) + i); p != at {
			t.Fatalf("string %d of the environment is at %#x, want %#x", i, p, at)
		}
		at += arch.VA(len(l.text) + 1)
	}
	all := u.load(word(2+len(argv)), l.n*(len(l.text)+1))
	if string(all) != strings.Repeat(l.text+"\x00", l.n) {
		t.Errorf("the environment is not what execve(2) was given")
	}
}

// An execve(2) whose charge is refused fails with ENOMEM, whichever charge it is, and
// leaves nothing behind. The test fails if room ignores the error of a refused charge.
func TestExecLongRefused(t *testing.T) {
	m := newMachine(t, 0, 8192)
	m.litters = true
	m.writeFile("/tmp/prog", m.executable(delf.ET_EXEC, nil), 0o755)
	m.anywhere = func(u *user) { u.exit(7) }
	charges := m.s.cfg.VM.Charges()
	l := longStart{"/tmp/prog", 3, strings.Repeat("y", 2*elf.PieceSize), nil}
	for n := 0; ; n++ {
		st := m.run(func(u *user) {
			left := n
			charges.Refuse(func(k charge.Kind, _ int64) bool {
				if k == charge.Call {
					left--
				}
				return left < 0 && k == charge.Call
			})
			r := l.exec(u)
			charges.Refuse(nil)
			if int64(r) != -int64(syscall.ENOMEM) {
				t.Errorf("with %d charges: %d", n, int64(r))
			}
			u.exit(1)
		})
		charges.Refuse(nil)
		if all := charges.Totals()[charge.Call]; all != 0 {
			t.Errorf("with %d charges %d bytes are left", n, all)
		}
		if st.ExitStatus() == 7 {
			if n < 4 {
				t.Errorf("%d charges were enough", n)
			}
			return
		}
	}
}
