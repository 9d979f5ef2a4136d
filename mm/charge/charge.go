// Package charge gives kernel memory an owner.
//
// Whatever a user program makes the kernel keep, in variable number or of
// variable size, is charged to a user when it is made, and given back in the
// same place as the object. When a user's share or the machine's limit is used
// up, Take refuses, the caller gets an error, and everybody else goes on. What
// lies beyond the limit is the kernel's reserve: no user program can touch it.
//
// There are three levels. System is the machine: limits, and totals for each
// kind of object. User is one user number: objects that can outlive a process,
// such as pipes and inodes, are charged to it directly, and so are address spaces and
// descriptor tables, which know by themselves what they are charged (User.PayFor).
// Account belongs to one process: it adds up what is charged through it. Accounts,
// spaces and tables move to another user as a whole when a process changes its user.
//
// The rule that shares the machine out among users is in User.Take.
//
// Locks, outermost first:
//
//	Account.mu    what is charged through the account, and to whom
//	    System.mu the table of users
//
// Totals are atomic. Nothing here blocks, but for the gate that the kernel
// installs (Config.Gate), which may collect garbage: other threads may wait for a
// caller's locks meanwhile, the collector needs none of them.
package charge

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
)

// Resource is one of the things that are shared out.
type Resource uint8

// The resources. Heap, Frames and Pages are counted in bytes.
const (
	Heap   Resource = iota // the kernel's own heap, goroutine stacks included
	Frames                 // physical memory that kernel objects hold as a store
	Pages                  // pages of files of the memory file system
	Nodes                  // its inodes, counted
	resources
)

const resourceMask = resources - 1

// Kind says what sort of object is charged. Limits do not depend on it; it is
// what /proc/meminfo and the self-tests' leak check show.
type Kind uint8

// The kinds of objects.
const (
	Thread    Kind = iota // thread, and the goroutine stack that it runs on
	Signal                // queued signals
	Process               // process, signal actions, its files structure
	Space                 // address spaces with their map entries
	Object                // memory objects
	PageIndex             // what finds the pages of an object
	FDTable               // descriptor tables
	OpenFile              // open file descriptions of every sort, with their timers and locks
	Inode                 // files, directories and links of the memory file system
	Name                  // directory entries
	Epoll                 // epoll instances and items
	Call                  // memory of system calls in progress
	IPC                   // System V semaphores, queues with their messages, segments
	PipePages             // pipe buffers
	FilePages             // pages of files of the memory file system
	FileNodes             // its inodes, each counted as 1
	kinds
)

// The first kinds are counted too, for limits on their number.
const (
	counted   = 2 // a power of 2
	countMask = counted - 1
)

var kindTable = [kinds]struct {
	name     string
	resource Resource
}{
	Process: {"Processes", Heap}, Thread: {"Threads", Heap}, Space: {"Spaces", Heap},
	Object: {"Objects", Heap}, PageIndex: {"PageIndex", Heap},
	Signal: {"Signals", Heap}, FDTable: {"FDTables", Heap},
	OpenFile: {"OpenFiles", Heap}, Inode: {"Inodes", Heap}, Name: {"Names", Heap},
	Epoll: {"Epoll", Heap}, Call: {"Calls", Heap}, IPC: {"IPC", Heap},
	PipePages: {"PipePages", Frames}, FilePages: {"FilePages", Pages}, FileNodes: {"FileNodes", Nodes},
}

// resourceOf is the resource of each kind, apart from the names: Take and Give look
// here alone. It has an entry for every value of a Kind, as kindsRoom has, so that an
// index needs no check.
var resourceOf = func() (r [256]Resource) {
	for k, of := range kindTable {
		r[k] = of.resource
	}
	return r
}()

// kindsRoom is a power of 2 that is not less than kinds.
const (
	kindsRoom = 16
	kindMask  = kindsRoom - 1
)

func (k Kind) String() string {
	if k < kinds {
		return kindTable[k].name
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// gateStep is how many bytes may be charged between two looks at the gate.
const gateStep = 1 << 16

// Config are the machine's limits.
type Config struct {
	HeapLimit  int64 // bytes of kernel heap that user programs may make the kernel hold
	FrameLimit int64 // bytes of frames likewise
	// Gate is asked each time gateStep more bytes of Heap have been charged, with the
	// size of that charge. It answers whether the heap really has room, as charges
	// know nothing of garbage, of fragments and of stacks that have grown. It may
	// collect garbage for that. nil: there is always room.
	Gate func(n int64) bool
}

// System is the machine's account.
type System struct {
	gate  func(n int64) bool // [I]
	limit [resources]int64   // [I] once SetLimits was called
	// bound is limit, or refuseAll while Refuse is on, so that Take looks at nothing else.
	bound [resources]atomic.Int64
	used  [resources]atomic.Int64
	kinds [kindsRoom]atomic.Int64 // bytes, the kernel's own included
	own   User                    // the kernel's
	// refuse is what Refuse was given; nil: nothing is refused.
	refuse atomic.Pointer[func(k Kind, n int64) bool]

	mu    sync.Mutex
	users map[uint32]*User // [mu]
}

// New makes the machine's account.
func New(c Config) *System {
	s := &System{users: make(map[uint32]*User)}
	s.own.sys, s.own.kernel = s, true
	s.gate = func(int64) bool { return true }
	s.limit[Pages], s.limit[Nodes] = noLimit, noLimit
	s.SetLimits(c)
	return s
}

// Unlimited is an account without limits, for tests of other packages.
func Unlimited() *System {
	return New(Config{HeapLimit: math.MaxInt64, FrameLimit: math.MaxInt64})
}

// SetLimits replaces the limits. Charges made before stay. Only at start-up,
// before there are user programs: limits depend on what the kernel takes first.
func (s *System) SetLimits(c Config) {
	s.limit[Heap], s.limit[Frames] = min(c.HeapLimit, noLimit), min(c.FrameLimit, noLimit)
	s.setBounds()
	if c.Gate != nil {
		s.gate = c.Gate
	}
}

// noLimit is below what greed times a limit can overflow.
const noLimit = math.MaxInt64 / 8

// SetFileLimits replaces the limits of the memory file system. Only at start-up.
func (s *System) SetFileLimits(pages, nodes int64) {
	s.limit[Pages], s.limit[Nodes] = min(pages, noLimit), min(nodes, noLimit)
	s.setBounds()
}

// refuseAll is a limit that refuses every charge.
const refuseAll = math.MinInt64 / 8

func (s *System) setBounds() {
	on := s.refuse.Load() != nil
	for r, n := range s.limit {
		if on {
			n = refuseAll
		}
		s.bound[r].Store(n)
	}
}

// Refuse makes f decide which charges are refused, beside those that the limits
// refuse; nil: no others. f is asked for every charge but the kernel's own, with locks
// of the caller held: it must not charge. For tests of what happens when a charge is
// refused; the calls of Refuse come one after the other.
func (s *System) Refuse(f func(k Kind, n int64) bool) {
	if f == nil {
		s.refuse.Store(nil)
	} else {
		s.refuse.Store(&f)
	}
	s.setBounds()
}

// Limit is how much of a resource user programs may hold together.
func (s *System) Limit(r Resource) int64 { return s.limit[r] }

// Used is how much they hold.
func (s *System) Used(r Resource) int64 { return s.used[r].Load() }

// Kernel is the kernel itself as a user: counted, never refused.
func (s *System) Kernel() *User { return &s.own }

// References is how many references to users there are.
func (s *System) References() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users {
		n += u.refs.Load()
	}
	return n
}

// Totals are the bytes that objects of each kind hold, by Kind, the kernel's own
// included. Two of them can be compared.
type Totals [kinds]int64

// Totals adds up all users.
func (s *System) Totals() (t Totals) {
	for k := range t {
		t[k] = s.kinds[k].Load()
	}
	return t
}

// String lists the kinds that hold something.
func (t Totals) String() string {
	var words []string
	for k, n := range t {
		if n != 0 {
			words = append(words, fmt.Sprintf("%s:%d", Kind(k), n))
		}
	}
	return "[" + strings.Join(words, " ") + "]"
}
