package bare

import "unsafe"

// A line is collected here and written with one call, so that the lines of several
// processes are not mixed.
var (
	line [1024]byte
	used int
)

// Put adds text to the line.
func Put(s string) { used += copy(line[used:], s) }

// PutInt adds a number to the line.
func PutInt(v int) {
	if v < 0 {
		Put("-")
		v = -v
	}
	var b [20]byte
	Put(Decimal(&b, v))
}

// Decimal writes a number that is not negative into b and returns the part used.
func Decimal(b *[20]byte, v int) string {
	i := len(b) - 1
	for ; v >= 10; v, i = v/10, i-1 {
		b[i] = byte('0' + v%10)
	}
	b[i] = byte('0' + v)
	return unsafe.String(&b[i], len(b)-i)
}

// PutField adds " name=v".
func PutField(name string, v int) {
	Put(" ")
	Put(name)
	Put("=")
	PutInt(v)
}

// PutCents adds a number given in hundredths, with two decimals.
func PutCents(v int) {
	if v < 0 {
		Put("-")
		v = -v
	}
	PutInt(v / 100)
	Put(".")
	PutInt(v / 10 % 10)
	PutInt(v % 10)
}

// Flush ends the line and writes it.
func Flush() {
	used = min(used, len(line)-1)
	line[used] = '\n'
	for p := line[:used+1]; len(p) > 0; {
		n := Write(1, p)
		if n <= 0 {
			break
		}
		p = p[n:]
	}
	used = 0
}

// Fail writes a line and ends the process with status 1.
func Fail(what, which string) {
	used = 0
	Put("failed: ")
	Put(what)
	Put(which)
	Flush()
	Exit(1)
}
