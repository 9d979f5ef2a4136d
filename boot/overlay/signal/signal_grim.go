//go:build grim_overlay

package signal

// Waiting reports whether a goroutine waits for signals. TamaGo's own Go distribution
// adds it, for interrupts that arrive as signals. Here none do, and signal_recv blocks
// forever as soon as it is called.
func Waiting() bool { return true }
