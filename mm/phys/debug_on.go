//go:build grimdebug || race

package phys

// debugOwners: record frames that were freed, overwrite them, and check that
// stocked frames are zero when they are handed out. On in every test under the
// race detector; off in the kernel, where it would cost a page of stores a free.
const debugOwners = true
