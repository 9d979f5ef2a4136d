package sys

import (
	"syscall"

	"grim/kernel/fs"
	"grim/proc"
)

// signals implements fs.SignalTarget with a thread.
type signals struct{ t *proc.Thread }

var _ fs.SignalTarget = signals{}

// SignalPending implements fs.SignalTarget.
func (s signals) SignalPending(set uint64) bool { return s.t.HasPending(proc.Sigset(set)) }

// OnSignal implements fs.SignalTarget.
func (s signals) OnSignal(fn func()) (cancel func()) { return s.t.Process().OnSignal(fn) }

var _ fs.SignalReader = task{}

// ReadSignal implements fs.SignalReader.
func (t task) ReadSignal(p []byte, set uint64, wait bool) error {
	deadline := int64(0)
	if wait {
		deadline = fs.Never
	}
	info, err := t.WaitSignal(proc.Sigset(set), deadline)
	if err == syscall.EINTR {
		return t.Interrupt() // read(2) is restarted if the handler's flags say so
	}
	if err != nil {
		return err
	}
	putSignalInfo(p, &info)
	return nil
}

// putSignalInfo encodes struct signalfd_siginfo (include/uapi/linux/signalfd.h).
func putSignalInfo(p []byte, i *proc.Siginfo) {
	clear(p)
	le.PutUint32(p[0:], uint32(i.Signo))
	le.PutUint32(p[4:], uint32(i.Errno))
	le.PutUint32(p[8:], uint32(i.Code))
	switch {
	case i.Child:
		le.PutUint32(p[12:], uint32(i.PID))
		le.PutUint32(p[16:], i.UID)
		le.PutUint32(p[40:], uint32(i.Status))
		le.PutUint64(p[56:], uint64(i.UTime/(second/100)))
		le.PutUint64(p[64:], uint64(i.STime/(second/100)))
	case i.Code == proc.SI_TIMER:
		le.PutUint32(p[24:], uint32(i.PID))
		le.PutUint32(p[32:], i.UID)
		le.PutUint32(p[44:], uint32(i.Value))
		le.PutUint64(p[48:], i.Value)
	default:
		le.PutUint32(p[12:], uint32(i.PID))
		le.PutUint32(p[16:], i.UID)
		le.PutUint32(p[44:], uint32(i.Value))
		le.PutUint64(p[48:], i.Value)
	}
}
