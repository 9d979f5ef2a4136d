//go:build tamago

package proc

import "runtime"

// parker is a place for one goroutine to sleep until somebody wakes it: wakes in
// a row count as one, and one that comes before the sleep ends it at once.
type parker struct{ p runtime.Parker }

func (p *parker) init()  {}
func (p *parker) sleep() { p.p.Park() }
func (p *parker) wake()  { p.p.Unpark() }
