//go:build !tamago

package proc

// parker for the host's runtime, which has no runtime.Parker: the same promises
// from a channel, in sight of the race detector.
type parker struct{ note chan struct{} }

func (p *parker) init()  { p.note = make(chan struct{}, 1) }
func (p *parker) sleep() { <-p.note }

func (p *parker) wake() {
	select {
	case p.note <- struct{}{}:
	default: // one is waiting to be taken already
	}
}
