//go:build tamago

package main

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// parking: an Unpark before the Park is kept, two count as one, and the goroutine in Park
// does not run before it is woken.
func parking() error {
	var p runtime.Parker
	p.Unpark()
	p.Unpark()
	p.Park() // must return
	steps := 0
	go func() {
		for {
			p.Park()
			steps++
		}
	}()
	for want := range 100 {
		runtime.Gosched()
		if steps != want {
			return fmt.Errorf("%d wake-ups, and the goroutine was awake %d times", want, steps)
		}
		p.Unpark()
	}
	return nil
}

// wokenFirst: a woken goroutine runs before those that compute and yield, whatever the
// order of arrival. A goroutine in the middle of long work lets the woken one run with
// Yield, but not the others. Seen to fail: Unpark and runqput onto the P's queue.
func wokenFirst() error {
	var p runtime.Parker
	turns, stop, awake := 0, false, -1
	for range 5 {
		go func() {
			for !stop {
				turns++
				runtime.Gosched()
			}
		}()
	}
	defer func() { stop = true; time.Sleep(time.Millisecond) }()
	go func() {
		for {
			p.Park()
			awake = turns
		}
	}()
	for range 3 {
		runtime.Gosched()
	}
	for _, giveWay := range []func(){runtime.Gosched, runtime.Yield} {
		before := turns
		p.Unpark()
		giveWay()
		if awake != before {
			return fmt.Errorf("woken at turn %d of the others, awake at %d", before, awake)
		}
	}
	before := turns
	runtime.Yield()
	if turns != before {
		return errors.New("Yield let goroutines run that only compute")
	}
	return nil
}

// dueFirst: in its next Yield, a goroutine in the middle of long work lets the goroutines
// run whose timers have become due.
// Broken by: yieldWoken without the check of the timers.
func dueFirst() error {
	for range 3 {
		awake := false
		go func() {
			time.Sleep(time.Millisecond)
			awake = true
		}()
		runtime.Gosched()
		for start := time.Now(); time.Since(start) < 2*time.Millisecond; {
		}
		runtime.Yield()
		if !awake {
			return errors.New("Yield went on before a goroutine that was due")
		}
	}
	return nil
}

// dueBetween: two goroutines wake each other, and neither is ever behind in the queue. When
// a timer is due, its function runs nevertheless, before either has slept twice more.
func dueBetween() error {
	for try := range 20 {
		var a, b runtime.Parker
		fired, late, ended := false, 0, make(chan bool)
		due := time.Now().Add(time.Duration(200+7*try) * time.Microsecond)
		time.AfterFunc(time.Until(due), func() { fired = true })
		pass := func(own, other *runtime.Parker) {
			for !fired {
				if !time.Now().Before(due) {
					late++
				}
				other.Unpark()
				own.Park()
			}
			other.Unpark()
			ended <- true
		}
		go pass(&a, &b)
		go pass(&b, &a)
		<-ended
		a.Unpark()
		b.Unpark()
		<-ended
		if late > 4 {
			return fmt.Errorf("a timer was due, and goroutines went to sleep %d times before its function ran", late)
		}
	}
	return nil
}

// turnForAll: two goroutines that wake each other for ever do not keep the CPU from one
// that computes. Seen to fail (it hangs): nextReady without maxTurns.
func turnForAll() error {
	var a, b runtime.Parker
	stop, ended, rounds := false, make(chan bool), 0
	go func() {
		for !stop {
			rounds++
			b.Unpark()
			a.Park()
		}
		b.Unpark()
		ended <- true
	}()
	go func() {
		for !stop {
			a.Unpark()
			b.Park()
		}
		a.Unpark()
		ended <- true
	}()
	for range 10 {
		runtime.Gosched()
	}
	stop = true
	a.Unpark()
	<-ended
	a.Unpark()
	b.Unpark()
	<-ended
	if rounds < 10 {
		return fmt.Errorf("only %d rounds in 10 turns of the third", rounds)
	}
	return nil
}
