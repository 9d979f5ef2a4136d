// Package vm keeps user address spaces: the map of entries, anonymous memory, mapped
// objects, page faults, fork, and the purge at exit. It is like OpenBSD's uvm in miniature,
// with one difference: there are no amaps. For anonymous memory, the page tables (package
// pmap) are the only record of the frames, and a frame's reference count says whether other
// address spaces share a private page.
//
// It knows no processes. Each user of a VMSpace holds a reference, and the last user purges
// it.
//
// Lock order, outermost first:
//
//	VMSpace.mu              map entries, limits, sizes
//	    entryPool.mu        stock of unused entries; spacePool.mu likewise
//	    Mappings.mu         the entries that map an object; held while one of its pages is entered
//	        an object's mu  its page index
//	        pmap.mu         page tables (package pmap)
//	            Pool.mu     reservations (package reserv)
//	                phys    frames
//
//	FileObject.ioMu         one write, truncation or pager read of a file at a time
//	    Mappings.mu         as above
//
// System.cachedMu, the list of files with a store, is innermost. While it is held, an
// object's mu is only tried.
//
// Two VMSpace.mu are never held at once: fork fills a space that nothing else can see yet.
// No lock of a space is held while an object fetches a page (GetPage) or takes one back
// (PutDirty). So a slow pager delays only threads that wait for its pages.
//
// Context: any goroutine. All methods that reach a pager may sleep: Fault, Map with
// Populate or Locked, Lock, CopyIn and its relatives, Unmap, Remap, Advise, Sync, Purge.
// The methods that end a shared mapping, such as Unmap, return after the object has taken
// its dirty pages back.
//
// Operations whose length a program chooses let others run in the middle, some with
// VMSpace.mu or a Mappings.mu held: see pace.go. Those of them that Linux interrupts for a
// fatal signal are also methods of Caller.
//
// Memory is not reserved in advance. All mappings together may be larger than RAM, and a
// fault that finds no frame fails with ENOMEM. But a single request that is larger than RAM
// is refused: see mayCommit (Linux's overcommit_memory=0).
package vm
