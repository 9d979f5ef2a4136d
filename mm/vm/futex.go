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

// FutexKey is the key of the aligned word at va: by object and offset in a
// shared mapping, so that processes meet, by space and address otherwise.
// EINVAL misaligned, EFAULT not mapped.
func (vs *VMSpace) FutexKey(va arch.VA) (Key, error) {
	if va&3 != 0 {
		return Key{}, syscall.EINVAL
	}
	key := Key{vs.id, uint64(va)}
	vs.mu.Lock()
	e := vs.tree.find(va)
	if e == nil {
		vs.mu.Unlock()
		return Key{}, syscall.EFAULT
	}
	if !e.private() {
		key = Key{e.obj.Mapped().identity(), uint64(e.off) + uint64(va-e.start)}
	}
	vs.mu.Unlock()
	return key, nil
}

// PrivateFutexKey is the key under FUTEX_PRIVATE_FLAG; nothing is looked up.
// EINVAL misaligned.
func (vs *VMSpace) PrivateFutexKey(va arch.VA) (Key, error) {
	if va&3 != 0 {
		return Key{}, syscall.EINVAL
	}
	return Key{vs.id, uint64(va)}, nil
}
