//go:build tamago

package main

import (
	"errors"
	"fmt"
	"runtime"
)

// There are no exception vectors here: package arch has them. pretendFault does in assembly
// what an exception handler does with a fault in kernel code, but it is no exception.

// pretend is the context of the fault. Kind and Addr are set before.
var pretend runtime.FaultContext

// faultG and faultTop are the result of runtime.FaultStack.
var faultG, faultTop uintptr

// pretendFault fills in pretend, calls handleFault on the fault stack, and continues as
// pretend then says. In fault_GOARCH.s.
func pretendFault()

func handleFault() {
	if !runtime.InjectPanic(&pretend) {
		runtime.FatalFault(&pretend)
	}
}

//go:noinline
func faultHere() {
	faultG, faultTop = runtime.FaultStack()
	pretendFault()
}

type thing struct{ a, b int }

//go:noinline
func dereference(t *thing) {
	if t == nil {
		pretend.Kind, pretend.Addr = runtime.FaultMap, 8
		faultHere()
	}
	fmt.Println(t.b)
}

// faultRecovered: a fault is a run-time error like any other, however often it happens,
// also on a goroutine with a small stack.
func faultRecovered() error {
	c := make(chan error)
	for range 3 {
		go func() {
			defer func() {
				e, ok := recover().(runtime.Error)
				if !ok || e.Error() != "runtime error: invalid memory address or nil pointer dereference" {
					c <- fmt.Errorf("recovered %v", e)
				}
				c <- nil
			}()
			dereference(nil)
			c <- errors.New("went on after the fault")
		}()
		if err := <-c; err != nil {
			return err
		}
	}
	defer func() { recover() }()
	pretend.Kind = runtime.FaultDivide
	faultHere()
	return errors.New("went on after the division")
}
