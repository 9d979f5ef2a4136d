package share

import (
	"io"
	"sync"
	"syscall"
)

// link sends a 9P message and returns the reply: a Queue, or a connection to a server in
// tests. At most room bytes of the reply are wanted.
type link interface {
	do(m []byte, room int) ([]byte, error)
}

// conn is the connection of the library's client. The client trusts its server: a reply that
// is wrong ends all its requests, or is a panic. So each reply is checked here against its
// message, and the client gets the error EIO instead of a wrong reply, or of none.
type conn struct {
	l       link
	partial []byte // of the message that the client is writing

	replies chan []byte
	rest    []byte // of the reply that the client is reading
	ended   chan struct{}
	once    sync.Once
}

func newConn(l link) *conn {
	return &conn{l: l, replies: make(chan []byte), ended: make(chan struct{})}
}

// Types of messages, in their order of 9P2000.L: a reply's type is its message's, and one.
const (
	typeRlerror   = 7
	typeTstatfs   = 8
	typeTlopen    = 12
	typeTlcreate  = 14
	typeTsymlink  = 16
	typeTmknod    = 18
	typeTreadlink = 22
	typeTgetattr  = 24
	typeTsetattr  = 26
	typeTreaddir  = 40
	typeTfsync    = 50
	typeTmkdir    = 72
	typeTversion  = 100
	typeTattach   = 104
	typeTwalk     = 110
	typeTread     = 116
	typeTwrite    = 118

	headerBytes = 7 // size, type, tag
	countAt     = headerBytes + 12
	version     = "9P2000.L"
)

// leastBytes is how many bytes follow the header of a reply, at least.
var leastBytes = map[byte]int{
	typeTstatfs: 60, typeTlopen: 17, typeTlcreate: 17, typeTsymlink: 13, typeTmknod: 13, typeTreadlink: 2, typeTgetattr: 153,
	typeTreaddir: 4, typeTmkdir: 13, typeTversion: 6, typeTattach: 13, typeTwalk: 2, typeTread: 4, typeTwrite: 4,
}

// Write takes a part of a message. The client writes a message in up to three parts, and no
// other message in between.
func (c *conn) Write(p []byte) (int, error) {
	c.partial = append(c.partial, p...)
	if m := c.partial; len(m) >= headerBytes && len(m) >= int(le.Uint32(m)) {
		c.partial = nil
		go func() {
			select {
			case c.replies <- c.answer(m):
			case <-c.ended:
			}
		}()
	}
	return len(p), nil
}

// Read gives the client the next bytes of the replies.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		select {
		case c.rest = <-c.replies:
		case <-c.ended:
			return 0, io.EOF
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Close ends the connection. No request may be under way.
func (c *conn) Close() error {
	c.once.Do(func() { close(c.ended) })
	return nil
}

// answer sends a message, and returns a reply that the client can count on.
func (c *conn) answer(m []byte) []byte {
	room := replyBytes
	switch m[4] {
	case typeTread, typeTreaddir:
		room = headerBytes + 4 + int(le.Uint32(m[countAt:]))
	case typeTversion:
		// The client begins with versions that are known to Google's servers only, until it
		// is told to try an older one.
		if string(m[headerBytes+6:]) != version {
			return failure(m, syscall.EAGAIN)
		}
	case typeTfsync:
		if len(m) == headerBytes+4 { // the client leaves out the field datasync
			m = append(m, 0, 0, 0, 0)
			le.PutUint32(m, uint32(len(m)))
		}
	}
	reply, err := c.l.do(m, room)
	if err != nil {
		return failure(m, syscall.EIO)
	}
	return checked(m, reply)
}

// failure is a reply that says that a message has failed.
func failure(m []byte, e syscall.Errno) []byte {
	b := make([]byte, headerBytes+4)
	le.PutUint32(b, uint32(len(b)))
	b[4] = typeRlerror
	copy(b[5:7], m[5:7])
	le.PutUint32(b[headerBytes:], uint32(e))
	return b
}

// maxErrno is the largest error number of Linux.
const maxErrno = 4095

// checked returns the reply to a message if it is one, or else a failure.
func checked(m, reply []byte) []byte {
	bad := failure(m, syscall.EIO)
	if len(reply) < headerBytes || uint64(le.Uint32(reply)) > uint64(len(reply)) || le.Uint32(reply) < headerBytes || [2]byte(reply[5:]) != [2]byte(m[5:]) {
		return bad
	}
	reply = reply[:le.Uint32(reply)]
	kind, body := m[4], reply[headerBytes:]
	if reply[4] == typeRlerror {
		if len(body) != 4 || le.Uint32(body) == 0 || le.Uint32(body) > maxErrno {
			return bad
		}
		return reply
	}
	if reply[4] != kind+1 || len(body) < leastBytes[kind] {
		return bad
	}
	ok := true
	switch kind {
	case typeTversion: // the client does not look at the size
		ok = le.Uint32(body) == le.Uint32(m[headerBytes:]) && string(body[6:]) == version
	case typeTwalk:
		n := int(le.Uint16(body))
		ok = n == int(le.Uint16(m[headerBytes+8:])) && len(body) == 2+13*n
	case typeTreadlink:
		ok = len(body) == 2+int(le.Uint16(body))
	case typeTread, typeTreaddir:
		n := le.Uint32(body)
		ok = n <= le.Uint32(m[countAt:]) && len(body) == 4+int(n)
	case typeTwrite:
		ok = le.Uint32(body) <= le.Uint32(m[countAt:])
	}
	if !ok {
		return bad
	}
	return reply
}
