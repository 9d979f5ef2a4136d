//go:build tamago

// Grim is the kernel. See package kernel.
package main

import "grim/kernel"

func main() { kernel.Main() }
