package selftest

import "time"

// longestWait is as on amd64, but the longest steps have not been measured here since they
// were shortened.
const longestWait = 40 * time.Microsecond
