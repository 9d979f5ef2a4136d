//go:build grim_overlay

package signal

// Waiting reports whether a goroutine waits for signals. TamaGo's own Go distribution adds
// it, for interrupts that come as signals. Here no interrupt does, and signal_recv blocks
// for ever once it is called.
func Waiting() bool { return true }
