//go:build tamago

// Grim is the kernel that runs the self-tests and then a program, init. See package kernel.
package main

import "grim/kernel"

func main() {
	k := kernel.Boot()
	k.SelfTest()
	k.RunInit()
}
