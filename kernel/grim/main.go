//go:build tamago

// Grim is the kernel. So far it says hello.
package main

import (
	"fmt"
	"runtime"
	"runtime/goos"
)

func main() {
	goos.Printk = runtime.EarlyConsole
	fmt.Println("hello from", runtime.Version(), runtime.GOARCH)
}
