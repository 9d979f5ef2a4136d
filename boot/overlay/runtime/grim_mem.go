//go:build grim_overlay

package runtime

import (
	"unsafe"
)

// heapBase is the start of the heap. blocMax (mem_sbrk.go) is its present end.
var heapBase uintptr

// initHeapBounds makes the heap from the memory that the image maker has reserved behind
// the image.
func initHeapBounds() {
	initBloc()
	heapBase = bloc
	blocMax = bloc + grimInitialHeap
}

// arenasEnd is the end of the memory that sbrk gives out. Above it are records of the runtime
// (takeRecords). It is 0 until GrowHeap.
var arenasEnd uintptr

// heapUsed is the highest address up to which sbrk has given out memory. heapZeroed is the
// end of the zeroed memory that starts there. bloc may decrease again (mem_sbrk.go); the
// memory above it is then not zero. memlock must be held.
var heapUsed, heapZeroed uintptr

// sbrk returns the next n bytes of the kernel window, zeroed, because neither firmware nor
// the frame allocator promises that. It returns nil at the limit, which ends in the
// runtime's "out of memory".
//
// memlock must be held.
func sbrk(n uintptr) unsafe.Pointer {
	n = memRound(n)
	p := bloc
	if n > sbrkLimit()-p {
		return nil
	}
	end := p + n
	clearHeap(p, min(end, heapUsed))
	clearHeap(max(p, heapUsed, heapZeroed), end)
	heapUsed, heapZeroed = max(heapUsed, end), max(heapZeroed, end)
	bloc = end
	return unsafe.Pointer(p)
}

// sbrkLimit returns the end of the memory that sbrk gives out.
func sbrkLimit() uintptr {
	if arenasEnd != 0 {
		return arenasEnd
	}
	return blocMax
}

// takeRecords returns n bytes, zeroed, for the runtime's own records. After GrowHeap they
// come from the end of the heap. Between two arenas, which are aligned, a record would make
// the rest of 4 MB useless for arenas, and a small machine has only four of them. nil: the
// heap is full.
//
// memlock must be held.
func takeRecords(n uintptr) unsafe.Pointer {
	if arenasEnd == 0 {
		return sbrk(n)
	}
	n = memRound(n)
	if n > arenasEnd-bloc {
		return nil
	}
	arenasEnd -= n
	clearHeap(arenasEnd, arenasEnd+n)
	return unsafe.Pointer(arenasEnd)
}

func clearHeap(from, to uintptr) {
	if from < to {
		memclrNoHeapPointers(unsafe.Pointer(from), to-from)
	}
}

// PrepareHeap zeroes the next ahead bytes that the heap will use, in whole arenas of 4 MB
// and at least one. So a later allocation need not wait for that (300 000 instructions per
// arena). It does nothing if the memory is zeroed already.
func PrepareHeap(ahead uintptr) {
	systemstack(func() {
		lock(&memlock)
		end := min(alignUp(bloc+max(ahead, heapArenaBytes), heapArenaBytes), sbrkLimit())
		clearHeap(max(bloc, heapUsed, heapZeroed), end)
		heapZeroed = max(heapZeroed, end)
		unlock(&memlock)
	})
}

// HeapStats has the runtime's use of the memory given to it.
type HeapStats struct {
	Base, Limit uintptr // the address range
	Taken       uintptr // bytes that the runtime manages
	Free        uintptr // bytes up to Limit that are in no span: pages for objects and stacks
}

// Heap returns the present numbers. It only reads counters.
func Heap() HeapStats {
	return HeapStats{
		Base:  heapBase,
		Limit: blocMax,
		Taken: bloc - heapBase + blocMax - sbrkLimit(),
		Free:  unusedArenas() + uintptr(gcController.heapFree.load()) + uintptr(gcController.heapReleased.load()),
	}
}

// unusedArenas returns by how many bytes, in whole arenas, the heap can still grow. The
// rest at the end of the heap, less than an arena, is for records only (takeRecords).
func unusedArenas() uintptr {
	from, to := alignUp(bloc, heapArenaBytes), alignDown(sbrkLimit(), heapArenaBytes)
	if from >= to {
		return 0
	}
	return to - from
}

// HeapHasRun reports whether one object of n bytes could be allocated now, that is whether
// there are enough free pages in a row. The answer is valid until the next allocation.
func HeapHasRun(n uintptr) (ok bool) {
	pages := alignUp(n, pageSize) / pageSize
	systemstack(func() {
		lock(&mheap_.lock)
		addr, _ := mheap_.pages.find(pages)
		ask := alignUp(pages, pallocChunkPages) * pageSize // as mheap.grow does
		ok = addr != 0 || ask <= mheap_.curArena.end-mheap_.curArena.base || ask <= unusedArenas()
		unlock(&mheap_.lock)
	})
	return ok
}

// AllocatedBytes returns how much has been allocated since the last garbage collection, as
// far as the runtime has counted it: it counts spans.
func AllocatedBytes() uint64 { return allocatedBytes() }

// GrowHeap raises the end of the heap to limit. The caller must have mapped the memory
// behind the present heap, readable and writable. GrowHeap also sets the collector's soft
// memory limit to three quarters of the heap: a collection takes some time, and the
// allocations during it must fit. limit is rounded down to a page. A limit below the
// present one panics, and so does a second call.
func GrowHeap(limit uintptr) {
	limit &^= physPageSize - 1
	systemstack(func() {
		lock(&memlock)
		if limit < blocMax || arenasEnd != 0 {
			throw("runtime.GrowHeap: limit is below the present one, or second call")
		}
		blocMax, arenasEnd = limit, limit
		unlock(&memlock)
	})
	setMemoryLimit(int64((limit - heapBase) / 4 * 3))
}

// MemRegion, TextRegion and DataRegion return the addresses that TamaGo's packages ask for:
// of everything that the runtime owns, of the code, and of the data.

func MemRegion() (start, end uint64) {
	return uint64(firstmoduledata.text) &^ (2<<20 - 1), uint64(blocMax)
}

func TextRegion() (start, end uint64) {
	return uint64(firstmoduledata.text), uint64(firstmoduledata.etext)
}

func DataRegion() (start, end uint64) {
	_, _, _, _, lo, hi := Sections()
	return uint64(lo), uint64(hi)
}

// Sections returns the virtual bounds of the image's parts, for mapping them with the right
// permissions: text, read-only data, and written data, which ends where the heap starts.
// rodata and data start at a page boundary. Read-only data ends where written data starts.
func Sections() (text, etext, rodata, erodata, data, end uintptr) {
	d := &firstmoduledata
	// The linker puts the module data, which the runtime writes, before the other written
	// sections.
	data = min(uintptr(unsafe.Pointer(d)), d.noptrdata) &^ (physPageSize - 1)
	return d.text, d.etext, d.rodata, data, data, d.end
}

// CPU returns the name of the processor, by TamaGo's contract.
func CPU() string { return GOARCH }

// GetG returns the current goroutine's descriptor, by TamaGo's contract.
func GetG() unsafe.Pointer { return unsafe.Pointer(getg()) }
