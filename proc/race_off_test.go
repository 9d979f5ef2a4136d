//go:build !race

package proc

// raceEnabled: see race_on_test.go.
const raceEnabled = false
