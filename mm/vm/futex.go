package vm

import (
	"syscall"

	"grim/arch"
)

// Key names a futex word. Keys are comparable. Two keys are equal exactly if their
// addresses, in whatever spaces, are the same word.
type Key struct {
	ID  uint64 // of the object of a shared mapping, otherwise of the address space
	Off uint64 // offset in the object; otherwise the address, and the kind of operation
}

// The kind of operation on a word of private memory, in the low bits of Key.Off. Private
// and shared operations on the same word do not meet, as on Linux.
const (
	keyPrivate = 1
	keyShared  = 2
)

// FutexKey returns the key of the aligned word at va for a shared operation. In a shared
// mapping that is the object and an offset, so that processes meet; otherwise it is the
// space and the address. A private mapping that cannot be written shows the file's own
// pages and counts as shared. EINVAL if va is misaligned. EFAULT if it is not a user
// address, is not mapped or not readable, or is private anonymous memory that cannot be
// written.
func (vs *VMSpace) FutexKey(va arch.VA) (Key, error) {
	if err := checkWord(va); err != nil {
		return Key{}, err
	}
	key := Key{vs.id, uint64(va) | keyShared}
	var err error
	vs.mu.Lock()
	switch e := vs.tree.find(va); {
	case e == nil || hardware(e.prot)&arch.Read == 0:
		err = syscall.EFAULT
	case e.private() && e.prot&arch.Write != 0:
	case e.obj == nil:
		err = syscall.EFAULT
	default:
		key = Key{e.obj.Mapped().identity(), uint64(e.off) + uint64(va-e.start)}
	}
	vs.mu.Unlock()
	return key, err
}

// PrivateFutexKey returns the key for an operation with FUTEX_PRIVATE_FLAG. It does not
// look at the map. EINVAL if va is misaligned, EFAULT if it is not a user address.
func (vs *VMSpace) PrivateFutexKey(va arch.VA) (Key, error) {
	return Key{vs.id, uint64(va) | keyPrivate}, checkWord(va)
}

// checkWord returns EINVAL for a misaligned address, and EFAULT for one outside the user
// half.
func checkWord(va arch.VA) error {
	if va&3 != 0 {
		return syscall.EINVAL
	}
	return userBuffer(va, 4)
}
