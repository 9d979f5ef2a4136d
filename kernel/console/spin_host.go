//go:build !tamago

package console

import "runtime"

func spin() { runtime.Gosched() }
