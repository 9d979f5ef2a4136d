package vm

import (
	"bytes"
	"syscall"

	"grim/arch"
	"grim/mm/phys"
)

// userBuffer checks an address and a length from user code. EFAULT unless [va, va+n) lies
// in the user half without wrapping.
func userBuffer(va arch.VA, n uint64) error {
	if n > uint64(arch.UserMax) || va > arch.UserMax-arch.VA(n) {
		return syscall.EFAULT
	}
	return nil
}

// access calls fn with the frame behind va, after faulting the page in, and with the part
// of the frame that belongs to [va, va+n). It returns the length of that part. fn runs
// under pmap.mu, the lock that keeps the page from being unmapped and freed, so it must
// only copy. EFAULT; ENOMEM if there is no memory for the page.
func (vs *VMSpace) access(va arch.VA, n uint64, want arch.Prot, fn func(f phys.Frame, off, n int)) (int, error) {
	off := int(va & (arch.PageSize - 1))
	k := int(min(n, uint64(arch.PageSize-off)))
	for {
		vs.pm.Lock()
		if f, ok := vs.pm.FrameLocked(va, want); ok {
			fn(f, off, k)
			vs.pm.Unlock()
			return k, nil
		}
		vs.pm.Unlock()
		if err := vs.copyFault(va, want); err != nil {
			return 0, err
		}
	}
}

// copyCost returns the cost of copying n bytes, in instructions.
func copyCost(n int) int { return costLookup + n/4 }

// copyFault is Fault for a copy. If memory is short it may kill processes to get some, and
// try again. EFAULT; ENOMEM.
func (vs *VMSpace) copyFault(va arch.VA, want arch.Prot) error {
	for {
		since := vs.sys.mem.Shortages()
		err := vs.Fault(va, want)
		if err == nil || err == syscall.ENOMEM && !vs.sys.noMemory(vs, since) {
			return err
		}
		if err != syscall.ENOMEM {
			return syscall.EFAULT
		}
	}
}

// CopyIn fills dst from user memory at src. EFAULT. It may sleep.
func (vs *VMSpace) CopyIn(dst []byte, src arch.VA) error {
	if err := userBuffer(src, uint64(len(dst))); err != nil {
		return err
	}
	mem := vs.sys.mem
	var work pace
	for len(dst) > 0 {
		off := int(src & (arch.PageSize - 1))
		n := min(len(dst), arch.PageSize-off)
		work.spend(vs.sys, copyCost(n))
		vs.pm.Lock()
		f, ok := vs.pm.FrameLocked(src, arch.Read)
		if !ok {
			vs.pm.Unlock()
			if err := vs.copyFault(src, arch.Read); err != nil {
				return err
			}
			continue
		}
		copy(dst[:n], mem.Bytes(f)[off:])
		vs.pm.Unlock()
		dst, src = dst[n:], src+arch.VA(n)
	}
	return nil
}

// CopyOut writes src to user memory at dst. It returns EFAULT, and writes nothing, if any
// byte of the range cannot be written. (A part can be written only if another thread unmaps
// the range at the same time.) It may sleep.
func (vs *VMSpace) CopyOut(dst arch.VA, src []byte) error {
	if err := vs.ensureRest(dst, uint64(len(src)), arch.Write); err != nil {
		return err
	}
	mem := vs.sys.mem
	var work pace
	for len(src) > 0 {
		off := int(dst & (arch.PageSize - 1))
		n := min(len(src), arch.PageSize-off)
		work.spend(vs.sys, copyCost(n))
		vs.pm.Lock()
		f, ok := vs.pm.FrameLocked(dst, arch.Write)
		if !ok {
			vs.pm.Unlock()
			if err := vs.copyFault(dst, arch.Write); err != nil {
				return err
			}
			continue
		}
		copy(mem.Bytes(f)[off:], src[:n])
		mem.Modified(f)
		vs.pm.Unlock()
		src, dst = src[n:], dst+arch.VA(n)
	}
	return nil
}

// CopyInPresent copies as CopyIn does, up to the first page that is not present or not
// readable. It takes no fault, never sleeps, and returns how many bytes it copied. The
// caller may hold locks. If bytes are missing it unlocks, calls EnsureReadable and tries
// again. The range must be in the user half.
func (vs *VMSpace) CopyInPresent(dst []byte, src arch.VA) (n int) {
	for n < len(dst) {
		off := int(src & (arch.PageSize - 1))
		k := min(len(dst)-n, arch.PageSize-off)
		vs.pm.Lock()
		f, ok := vs.pm.FrameLocked(src, arch.Read)
		if ok {
			copy(dst[n:n+k], vs.sys.mem.Bytes(f)[off:])
		}
		vs.pm.Unlock()
		if !ok {
			break
		}
		n, src = n+k, src+arch.VA(k)
	}
	return n
}

// CopyOutPresent copies as CopyOut does, up to the first page that is not present or not
// writable; otherwise it is like CopyInPresent.
func (vs *VMSpace) CopyOutPresent(dst arch.VA, src []byte) (n int) {
	mem := vs.sys.mem
	for n < len(src) {
		off := int(dst & (arch.PageSize - 1))
		k := min(len(src)-n, arch.PageSize-off)
		vs.pm.Lock()
		f, ok := vs.pm.FrameLocked(dst, arch.Write)
		if ok {
			copy(mem.Bytes(f)[off:], src[n:n+k])
			mem.Modified(f)
		}
		vs.pm.Unlock()
		if !ok {
			break
		}
		n, dst = n+k, dst+arch.VA(k)
	}
	return n
}

// ZeroOut clears n bytes of user memory at dst. It fails as CopyOut does.
func (vs *VMSpace) ZeroOut(dst arch.VA, n uint64) error {
	if err := vs.ensureRest(dst, n, arch.Write); err != nil {
		return err
	}
	mem := vs.sys.mem
	var work pace
	for n > 0 {
		work.spend(vs.sys, copyCost(arch.PageSize))
		k, err := vs.access(dst, n, arch.Write, func(f phys.Frame, off, k int) {
			clear(mem.Bytes(f)[off : off+k])
			mem.Modified(f)
		})
		if err != nil {
			return err
		}
		n, dst = n-uint64(k), dst+arch.VA(k)
	}
	return nil
}

// ensureRest makes every page of a range accessible, so that a copy that has begun does not
// end in the middle. A range within one page, which is the usual case, costs nothing: it
// can only fail as a whole.
func (vs *VMSpace) ensureRest(va arch.VA, n uint64, want arch.Prot) error {
	if err := userBuffer(va, n); err != nil {
		return err
	}
	if n == 0 || va.PageDown() == (va+arch.VA(n)-1).PageDown() {
		return nil
	}
	return vs.ensure(va, n, want)
}

// ensure faults in the pages of a range that user code could not access as wanted. The
// range has been checked.
func (vs *VMSpace) ensure(va arch.VA, n uint64, want arch.Prot) error {
	var work pace
	for p := va.PageDown(); p < va+arch.VA(n); p += arch.PageSize {
		work.spend(vs.sys, costTouch)
		if _, err := vs.access(p, 1, want, func(phys.Frame, int, int) {}); err != nil {
			return err
		}
	}
	return nil
}

// EnsureReadable faults in [va, va+n) for reading. EFAULT. It may sleep.
func (vs *VMSpace) EnsureReadable(va arch.VA, n uint64) error {
	if err := userBuffer(va, n); err != nil {
		return err
	}
	return vs.ensure(va, n, arch.Read)
}

// EnsureWritable faults in [va, va+n) for writing. EFAULT. It may sleep.
func (vs *VMSpace) EnsureWritable(va arch.VA, n uint64) error {
	if err := userBuffer(va, n); err != nil {
		return err
	}
	return vs.ensure(va, n, arch.Write)
}

// CopyInString reads the string at src up to its NUL, and returns it without the NUL.
// EFAULT; ENAMETOOLONG if there is no NUL in the first max+1 bytes. It may sleep.
func (vs *VMSpace) CopyInString(src arch.VA, max int) (string, error) {
	var room [256]byte
	b, err := vs.AppendString(room[:0], src, max)
	if err != nil {
		return "", err
	}
	return string(b), nil
}

// AppendString is CopyInString, but appends the string to dst.
func (vs *VMSpace) AppendString(dst []byte, src arch.VA, max int) ([]byte, error) {
	mem := vs.sys.mem
	for left := max + 1; left > 0; {
		if src >= arch.UserMax {
			return dst, syscall.EFAULT
		}
		off := int(src & (arch.PageSize - 1))
		n := min(left, arch.PageSize-off)
		vs.pm.Lock()
		f, ok := vs.pm.FrameLocked(src, arch.Read)
		if !ok {
			vs.pm.Unlock()
			if err := vs.copyFault(src, arch.Read); err != nil {
				return dst, err
			}
			continue
		}
		b := mem.Bytes(f)[off : off+n]
		end := bytes.IndexByte(b, 0)
		if end >= 0 {
			b = b[:end]
		}
		dst = append(dst, b...)
		vs.pm.Unlock()
		if end >= 0 {
			return dst, nil
		}
		left, src = left-n, src+arch.VA(n)
	}
	return dst, syscall.ENAMETOOLONG
}
