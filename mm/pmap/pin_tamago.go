//go:build tamago

package pmap

import "runtime"

// pin keeps the caller running on its CPU until unpin. The caller must not block in
// between.
func pin()   { runtime.Pin() }
func unpin() { runtime.Unpin() }
