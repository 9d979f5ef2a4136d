// Package charge gives kernel memory an owner.
//
// Everything that a user program makes the kernel keep, if its number or size can vary, is
// charged to a user when it is made, and given back where the object is freed. When a
// user's share or the machine's limit is used up, Take refuses, and its caller returns an
// error; other users are not affected. What lies beyond the limit is the kernel's reserve,
// which no user program can use.
//
// There are three levels. System is the machine, with limits and totals for each kind of
// object. User is one user number. Objects that can outlive a process, such as pipes and
// inodes, are charged to it directly. So are address spaces and descriptor tables, which
// record their own charges (User.PayFor). Account belongs to one process and adds up what
// is charged through it. When a process changes its user, its account, space and table move
// to the new user as a whole.
//
// The rule that divides the machine among users is in User.Take.
//
// Locks, outermost first:
//
//	Account.mu    what is charged through the account, and to whom
//	    System.mu the table of users
//
// Totals are atomic. Nothing here blocks except a collection of garbage (room.go). Other
// threads may wait for the caller's locks meanwhile; the collector needs none of these
// locks.
package charge

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
)

// Resource is a resource that is divided among users.
type Resource uint8

// The resources. Heap, Frames and Pages are counted in bytes, Nodes in inodes.
const (
	Heap   Resource = iota // the kernel's own heap, goroutine stacks included
	Frames                 // physical memory that kernel objects use to store data
	Pages                  // pages of files of the memory file system
	Nodes                  // inodes of the memory file system
	resources
)

const resourceMask = resources - 1

// Kind says what sort of object is charged. /proc/meminfo and the self-tests' leak check
// show it. Limits do not depend on it.
type Kind uint8

// The kinds of objects.
const (
	Thread    Kind = iota // thread, and the goroutine stack that it runs on
	Signal                // queued signals
	Process               // process, signal actions, its files structure
	Space                 // address spaces with their map entries
	Object                // memory objects
	PageIndex             // indexes that find the pages of an object
	FDTable               // descriptor tables
	OpenFile              // open file descriptions of every sort, with their timers and locks
	Inode                 // files, directories and links of the memory file system
	Name                  // directory entries
	Epoll                 // epoll instances and items
	Call                  // memory of system calls in progress
	IPC                   // System V semaphores, queues with their messages, segments
	PipePages             // pipe buffers
	FilePages             // pages of files of the memory file system
	FileNodes             // inodes of the memory file system, each counted as 1
	kinds
)

// The first kinds are also counted, for limits on their number.
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

// resourceOf is the resource of each kind. It is separate from the names because Take and
// Give need nothing else. It has an entry for every value of a Kind, so that an index needs
// no check.
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

// Config has the machine's limits.
type Config struct {
	HeapLimit  int64 // bytes of kernel heap that user programs may use together
	FrameLimit int64 // bytes of frames that they may use together
	// Room tells how much of the heap is really free; nil: always enough.
	Room Room
}

// System is the machine's account.
type System struct {
	room  Room             // [I] nil: there is always room
	limit [resources]int64 // [I] once SetLimits was called
	// bound is limit, or refuseAll while Refuse is on, so that Take need not look at
	// refuse.
	bound [resources]atomic.Int64
	used  [resources]atomic.Int64
	kinds [kindsRoom]atomic.Int64 // bytes, including the kernel's own
	own   User                    // the kernel as a user
	// refuse is the argument of Refuse; nil: nothing is refused.
	refuse atomic.Pointer[func(k Kind, n int64) bool]
	// peak is at least as much as used[Heap] was when the last collection began, up to a
	// gateStep. See hasRoom.
	peak atomic.Int64

	mu    sync.Mutex
	users map[uint32]*User // [mu]
}

// New makes the machine's account.
func New(c Config) *System {
	s := &System{users: make(map[uint32]*User)}
	s.own.sys, s.own.kernel = s, true
	s.limit[Pages], s.limit[Nodes] = noLimit, noLimit
	s.SetLimits(c)
	return s
}

// Unlimited returns an account without limits, for tests of other packages.
func Unlimited() *System {
	return New(Config{HeapLimit: math.MaxInt64, FrameLimit: math.MaxInt64})
}

// SetLimits replaces the limits. Earlier charges stay. It may be called at start-up only,
// before there are user programs: the limits depend on what the kernel itself takes first.
func (s *System) SetLimits(c Config) {
	s.limit[Heap], s.limit[Frames] = min(c.HeapLimit, noLimit), min(c.FrameLimit, noLimit)
	s.setBounds()
	if c.Room != nil {
		s.room = c.Room
	}
}

// noLimit is so small that greed times a limit does not overflow.
const noLimit = math.MaxInt64 / 8

// SetFileLimits replaces the limits of the memory file system. It may be called at start-up
// only.
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

// Refuse makes f decide which charges are refused, in addition to those that exceed a
// limit; nil ends that. f is called for every charge but the kernel's own. Locks of the
// charge's caller may be held, and f must not charge. It is for tests of refused charges.
// Calls of Refuse must not overlap.
func (s *System) Refuse(f func(k Kind, n int64) bool) {
	if f == nil {
		s.refuse.Store(nil)
	} else {
		s.refuse.Store(&f)
	}
	s.setBounds()
}

// Limit returns how much of a resource user programs may hold together.
func (s *System) Limit(r Resource) int64 { return s.limit[r] }

// Used returns how much of a resource user programs hold together.
func (s *System) Used(r Resource) int64 { return s.used[r].Load() }

// Kernel returns the kernel as a user. Its charges are counted and never refused.
func (s *System) Kernel() *User { return &s.own }

// References returns how many references to users there are.
func (s *System) References() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users {
		n += u.refs.Load()
	}
	return n
}

// Totals are the bytes that objects of each kind hold, by Kind, including the kernel's own.
// Two Totals can be compared.
type Totals [kinds]int64

// Totals returns the totals of all users.
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
