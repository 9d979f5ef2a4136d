//go:build !tamago

package pmap

// On a host a test's MMU says which CPU the caller is, and does not change its mind.
func pin()   {}
func unpin() {}
