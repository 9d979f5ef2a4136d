package arch

// Counts are the numbers of interrupts, by kind, that a CPU has taken since it was started.
// Other CPUs read them while they change.
type Counts struct {
	Timer uint64
	Wake  uint64 // from other CPUs, to an idle CPU: there is work
	Shoot uint64 // from other CPUs: leave user mode
	NMI   uint64 // amd64: only those that the kernel did not send itself
}
