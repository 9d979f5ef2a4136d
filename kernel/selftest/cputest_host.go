//go:build !tamago

package selftest

// runtimeTests are for machines only.
func runtimeTests() []test { return nil }
