//go:build !tamago

package proc

// parker is for the host's runtime, which has no runtime.Parker. It makes the same promises
// with a channel, which the race detector understands.
type parker struct{ notifier }

func (p *parker) init()  { p.ch = make(chan struct{}, 1) }
func (p *parker) sleep() { <-p.ch }
func (p *parker) start() { p.wake() }
