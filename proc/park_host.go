//go:build !tamago

package proc

// parker for the host's runtime, which has no runtime.Parker: the same promises
// from a channel, in sight of the race detector.
type parker struct{ notifier }

func (p *parker) init()  { p.ch = make(chan struct{}, 1) }
func (p *parker) sleep() { <-p.ch }
