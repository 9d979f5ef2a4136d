//go:build tamago

package console

// spin is called in a loop that waits for another CPU.
func spin() {}
