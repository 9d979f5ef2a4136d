// Park and unpark, and idle CPUs, of which a wake-up takes one: three CPUs. Goroutine 0
// wakes 1, which wakes 2; each then computes, without giving its CPU away, until the one
// that it has woken has ended. So another CPU must do that. README.md says which code each
// part stands for.
//
// Memory: a CPU's store of "idle" waits in a store buffer until a barrier, as does the
// count of a queue that a waker has stored.
//
// mutant: PLAIN_STORE violates end-state
// mutant: NO_SECOND_LOOK violates end-state
// mutant: LOOK_BEFORE_PUBLISH violates end-state
// mutant: NO_BARRIER_IDLE violates end-state
// mutant: NO_BARRIER_WAKE violates end-state
// mutant: WINDOW_BEFORE_HALT violates end-state
// mutant: NO_WAKE violates end-state
// mutant: RUN_BEFORE_PARKED violates Y1

#define CPUS 3
#define GS   3 // goroutines
#define SET  9 // Parker's word: a wake-up waits

hidden byte Y1;

chan queue = [GS] of { byte }; // goroutines that are ready; any CPU takes them
byte queued;          // what other CPUs see of it
bool queueHeld[CPUS]; // this CPU's push is in its store buffer
bool idle[CPUS];      // published
bool idleHeld[CPUS];  // idle = true is in the store buffer
bool irq[CPUS];       // pending
bool halted[CPUS];

byte word[GS];        // Parker.word: 0, SET, or goroutine + 1
bool onCPU[GS];       // its stack is in use
bool woken[GS];       // it has slept
bool ended[GS];

// Buffer lets the stores of a CPU out.
proctype Buffer(byte c) {
end:
	do
	:: atomic { idleHeld[c] -> idle[c] = true; idleHeld[c] = false }
	:: atomic { queueHeld[c] -> queued++; queueHeld[c] = false }
	od
}

// wakeOne sends one interrupt to one idle CPU, if there is one.
inline wakeOne(c, o) {
#ifndef NO_WAKE
#ifdef NO_BARRIER_WAKE
	skip;
#else
	!queueHeld[c];
#endif
	o = 0;
	do
	:: o < CPUS && o != c && idle[o] ->
		if // compare and swap
		:: atomic { idle[o] -> idle[o] = false }
			irq[o] = true;
			break
		:: !idle[o] -> o++
		fi
	:: o < CPUS && !(o != c && idle[o]) -> o++
	:: o == CPUS -> break
	od
#else
	skip
#endif
}

inline ready(c, g, o) {
	atomic { queue!g; queueHeld[c] = true }
	wakeOne(c, o)
}

// unpark is Parker.Unpark.
inline unpark(c, g, o, old) {
	atomic { old = word[g]; word[g] = SET }
	if
	:: old != 0 && old != SET -> ready(c, g, o)
	:: else
	fi
}

proctype Cpu(byte c) {
	byte g, o, old;
	do
	:: true -> // schedule: take a goroutine, if this CPU sees one
#ifdef LOOK_BEFORE_PUBLISH
		if
		:: atomic { queued > 0 -> queue?g; queued-- }
			goto execute
		:: queued == 0
		fi;
		atomic { idleHeld[c] = true }
		!idleHeld[c];
		goto halt;
#endif
		if
		:: atomic { queued > 0 -> queue?g; queued-- }
			goto execute
		:: queued == 0
		fi;
		// beforeIdle: publish, look again, sleep.
		atomic { idleHeld[c] = true }
#ifndef NO_BARRIER_IDLE
		!idleHeld[c];
#endif
#ifndef NO_SECOND_LOOK
		if
		:: queued > 0 -> // take the publication back; a waker may have claimed it
			!idleHeld[c];
			idle[c] = false;
			goto again
		:: queued == 0
		fi;
#endif
halt:
#ifdef WINDOW_BEFORE_HALT
		irq[c] = false; // interrupts on, and taken, before HLT
#endif
		halted[c] = true;
endHalt:
		irq[c];
		halted[c] = false;
		irq[c] = false;
		idle[c] = false;
		goto again;
execute:
		assert(!onCPU[g] || Y1);
		onCPU[g] = true;
		if
		:: g != 0 && !woken[g] -> // Park
			woken[g] = true;
			if
			:: atomic { word[g] == SET -> word[g] = 0 }
				goto compute
			:: else ->
#ifdef RUN_BEFORE_PARKED
				word[g] = g + 1;
				onCPU[g] = false
#else
				onCPU[g] = false; // on the stack of the scheduler
#ifdef PLAIN_STORE
				word[g] = g + 1
#else
				if
				:: atomic { word[g] == 0 -> word[g] = g + 1 }
				:: atomic { word[g] == SET -> word[g] = 0 }
					goto execute
				fi
#endif
#endif
			fi
		:: else ->
compute:
			if
			:: g < GS - 1 ->
				unpark(c, g + 1, o, old);
				ended[g + 1]
			:: else
			fi;
			onCPU[g] = false;
			ended[g] = true
		fi;
again:
		skip
	od
}

init {
	atomic {
		queue!0; queue!1; queue!2; queued = 3;
		run Cpu(0); run Cpu(1); run Cpu(2);
		run Buffer(0); run Buffer(1); run Buffer(2)
	}
	ended[0] // else a wake-up was lost
}
