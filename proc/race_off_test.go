//go:build !race

package proc

// raceEnabled: the race detector makes everything some ten times slower.
const raceEnabled = false
