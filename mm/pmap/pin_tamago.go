//go:build tamago

package pmap

import "runtime"

// pin keeps the caller on its CPU, and running, until unpin. It must not block in
// between.
func pin()   { runtime.Pin() }
func unpin() { runtime.Unpin() }
