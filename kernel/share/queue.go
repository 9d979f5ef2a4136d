package share

import (
	"encoding/binary"
	"fmt"

	"grim/kernel/virtq"
)

var le = binary.LittleEndian

// Queue is the queue of a virtio 9P device (VirtIO 1.2, section 5.8 has its number only; QEMU's
// device is the definition). A request is a chain of two descriptors, the message and the
// room for the reply, in one buffer.
type Queue struct{ *virtq.Queue }

const (
	// BufferBytes is the room for a message with its data and the reply to it.
	BufferBytes = MessageBytes + replyBytes
	// MessageBytes is the size of the largest message: 64 KB of data, and what is around it.
	MessageBytes = 64<<10 + 4096
	// replyBytes is the room for a reply without data: a symbolic link's target is the longest.
	replyBytes = 8192
)

// NewQueue makes the queue, with buffers of BufferBytes each. It sets c.Parts. The caller must
// call Run in a goroutine of its own.
func NewQueue(c virtq.Config) (*Queue, error) {
	c.Parts = 2
	q, err := virtq.New(c)
	return &Queue{q}, err
}

// do sends a message, and returns the reply that the device has written, of at most room
// bytes. It sleeps until then.
func (q *Queue) do(m []byte, room int) ([]byte, error) {
	at := (len(m) + 15) &^ 15 // where the reply goes
	if at+room > BufferBytes {
		return nil, fmt.Errorf("a message of %d bytes with a reply of %d", len(m), room)
	}
	s, err := q.Take()
	if err != nil {
		return nil, err
	}
	defer q.Give(s)
	copy(s.Bytes, m)
	n, err := q.Do(s, virtq.Part{Address: s.Address, Bytes: len(m)}, virtq.Part{Address: s.Address + uint64(at), Bytes: room, Write: true})
	if err != nil {
		return nil, err
	}
	return append([]byte(nil), s.Bytes[at:at+int(n)]...), nil
}
