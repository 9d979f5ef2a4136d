//go:build !wrongroot && !wrongwake

package proc

// staysOnRoot is true in a kernel that is built to be broken (qemu/debate, claims 7 and 9):
// a thread that ends leaves its CPU on the root.
const staysOnRoot = false
