//go:build !tamago

package pmap

// On a host, a test's MMU says which CPU the caller is, and the answer does not change, so
// that nothing needs to be pinned.
func pin()   {}
func unpin() {}
