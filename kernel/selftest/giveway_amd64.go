package selftest

import "time"

// longestWait is how long another task may have to wait. A nanosecond is an instruction. The
// longest step, a part of a fork, takes 21 us, and the scheduler needs 2 us to run the task.
const longestWait = 25 * time.Microsecond
