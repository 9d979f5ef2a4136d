package arch

// Counts are the interrupts that a CPU has taken since it was started, by kind. Other CPUs
// read them while they change.
type Counts struct {
	Timer uint64
	Wake  uint64 // from other CPUs: there is work
	Shoot uint64 // from other CPUs: leave user mode
	NMI   uint64 // amd64: not the kernel's own
}
