// Package phys hands out physical memory.
package phys

import (
	"unsafe"

	"grim/arch"
)

type Frame uint32

func (f Frame) PA() arch.PA    { return arch.PA(f) << arch.PageShift }
func FrameOf(pa arch.PA) Frame { return Frame(pa >> arch.PageShift) }

type Owner uint8

const (
	Free Owner = iota
	Anon
	FileCache
	Table
	Root
	UArea
	Kernel
	Reserve
)

// Range is [Start, End) of physical memory.
type Range struct{ Start, End arch.PA }

type Stats struct {
	Total, Free, Zeroed, FreeBlocks int // frames; FreeBlocks in blocks
}

type Memory struct{}

func New(direct unsafe.Pointer, ram []Range) (*Memory, error) { panic("skeleton") }
func (m *Memory) Alloc(o Owner) (Frame, error)                { panic("skeleton") }
func (m *Memory) AllocZero(o Owner) (Frame, error)            { panic("skeleton") }
func (m *Memory) AllocBlock(o Owner) (Frame, error)           { panic("skeleton") }
func (m *Memory) Ref(f Frame)                                 { panic("skeleton") }
func (m *Memory) Refs(f Frame) int32                          { panic("skeleton") }
func (m *Memory) Unref(f Frame) (freed bool)                  { panic("skeleton") }
func (m *Memory) RefBlock(f Frame)                            { panic("skeleton") }
func (m *Memory) UnrefBlock(f Frame)                          { panic("skeleton") }
func (m *Memory) Pointer(f Frame) unsafe.Pointer              { panic("skeleton") }
func (m *Memory) Bytes(f Frame) []byte                        { panic("skeleton") }
func (m *Memory) Table(f Frame) *[arch.Entries]arch.PTE       { panic("skeleton") }
func (m *Memory) Zero(f Frame)                                { panic("skeleton") }
func (m *Memory) FreeFrames() int                             { panic("skeleton") }
func (m *Memory) Total() int                                  { panic("skeleton") }
func (m *Memory) Stats() Stats                                { panic("skeleton") }
func (m *Memory) Audit() error                                { panic("skeleton") }
func (m *Memory) SetReclaim(f func(want int) (got int))       { panic("skeleton") }

// FailAfter makes every allocation after the next n fail with ENOMEM (for
// tests); negative: none fails.
func (m *Memory) FailAfter(n int) { panic("skeleton") }

// Modified tells that the kernel wrote to f, so that instruction fetch must be
// synchronised again before f is mapped executable.
func (m *Memory) Modified(f Frame) { panic("skeleton") }

type Batch struct{ M *Memory }

func (b *Batch) Unref(f Frame) { panic("skeleton") }
func (b *Batch) Flush()        { panic("skeleton") }
