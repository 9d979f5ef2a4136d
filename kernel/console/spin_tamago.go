//go:build tamago

package console

// spin waits for another CPU.
func spin() {}
