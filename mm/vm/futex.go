package vm

import (
	"syscall"

	"grim/arch"
)

// Key names a futex word. Keys are comparable and equal exactly when two
// addresses, in whatever spaces, are the same word.
type Key struct {
	ID  uint64 // of the object of a shared mapping, of the address space otherwise
	Off uint64 // into it
}

// What a word of private memory is asked for, in the low bits of Key.Off: private
// and shared operations on it do not meet, as on Linux.
const (
	keyPrivate = 1
	keyShared  = 2
)

// FutexKey is the key of the aligned word at va for a shared operation: by object
// and offset in a shared mapping, so that processes meet, by space and address
// otherwise. A private mapping of a file that cannot be written shows the file's
// own pages and counts as shared. EINVAL misaligned; EFAULT not a user address, not
// mapped, not readable, or private memory that nobody can write.
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

// PrivateFutexKey is the key under FUTEX_PRIVATE_FLAG; nothing is looked up.
// EINVAL misaligned, EFAULT not a user address.
func (vs *VMSpace) PrivateFutexKey(va arch.VA) (Key, error) {
	return Key{vs.id, uint64(va) | keyPrivate}, checkWord(va)
}

// checkWord is EINVAL for a misaligned address, EFAULT for one outside of the user
// half.
func checkWord(va arch.VA) error {
	if va&3 != 0 {
		return syscall.EINVAL
	}
	return userBuffer(va, 4)
}
