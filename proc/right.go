//go:build !wrongroot && !wrongwake

package proc

// staysOnRoot is true in a kernel that is broken on purpose (qemu/debate, claims 7 and 9): a
// thread that ends does not switch its CPU away from the root.
const staysOnRoot = false
