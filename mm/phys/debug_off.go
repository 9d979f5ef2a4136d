//go:build !grimdebug && !race

package phys

// debugOwners: see debug_on.go.
const debugOwners = false
