// Package vm keeps user address spaces: the map of entries, anonymous memory,
// the objects that are mapped, page faults, fork, and the purge at exit. It is
// OpenBSD's uvm in miniature, with one difference: there are no amaps. The page
// tables (package pmap) are the truth about anonymous memory, and a frame's
// reference count says whether a private page is shared with a relative.
//
// It knows no processes: whoever uses a VMSpace holds a reference, and the last
// user purges it.
//
// Lock order, outermost first:
//
//	VMSpace.mu              map entries, limits, sizes
//	    Mappings.mu         who maps an object; held while one of its pages is entered
//	        an object's mu  its page index
//	        pmap.mu         page tables (package pmap)
//	            Pool.mu     reservations (package reserv)
//	                phys    frames
//
// Two VMSpace.mu are never held at once: fork fills a space that nobody else can
// see yet. No lock is held while an object fetches a page (GetPage) or takes one
// back (PutDirty), so a slow pager delays only those who wait for its pages.
//
// Context: any goroutine. All methods that reach a pager may sleep: Fault, Map
// with Populate or Locked, Lock, CopyIn and its relatives, Unmap, Remap, Advise,
// Sync, Purge. Unmap and the others that end a shared mapping return after the
// object has taken its dirty pages back.
//
// Operations that a program can make long let others run in the middle, some with
// VMSpace.mu or a Mappings.mu held: see pace.go. Those of them that Linux interrupts
// for a fatal signal are methods of Caller as well.
//
// Memory is not reserved in advance: all mappings together may be larger than RAM,
// and the fault that finds no frame fails with ENOMEM. One request that is
// larger than RAM by itself is refused: see mayCommit (Linux's overcommit_memory=0).
package vm
