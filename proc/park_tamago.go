//go:build tamago

package proc

import "runtime"

// parker is a place for one goroutine to sleep until it is woken. Several wake-ups count as
// one, and a wake-up before the sleep ends the sleep at once. start is wake for a goroutine
// that runs after those that are woken.
type parker struct{ p runtime.Parker }

func (p *parker) init()  {}
func (p *parker) sleep() { p.p.Park() }
func (p *parker) wake()  { p.p.Unpark() }
func (p *parker) start() { p.p.UnparkCut() }
