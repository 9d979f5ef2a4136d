package elf

import "bytes"

// Strings are the strings of an execve(2): argv's, then envp's. They lie in pieces of
// memory, so that a long list needs no large object. A string may begin in one piece and
// end in another.
type Strings struct {
	Pieces [][]byte // the strings, a NUL after each; all but the last are full
	N      int      // strings
}

// PieceSize is how long a piece is.
const PieceSize = 8 << 10

// Add adds a string, and a piece where it needs one.
func (s *Strings) Add(str string) {
	for rest := str + "\x00"; rest != ""; {
		last := len(s.Pieces) - 1
		if last < 0 || len(s.Pieces[last]) == cap(s.Pieces[last]) {
			s.Pieces = append(s.Pieces, make([]byte, 0, PieceSize))
			last++
		}
		b := s.Pieces[last]
		n := copy(b[len(b):cap(b)], rest)
		s.Pieces[last], rest = b[:len(b)+n], rest[n:]
	}
	s.N++
}

// Len is how many bytes there are, NULs included.
func (s *Strings) Len() (n int) {
	for _, b := range s.Pieces {
		n += len(b)
	}
	return n
}

// First is how many of them are the first string's.
func (s *Strings) First() (n int) {
	for _, b := range s.Pieces {
		if i := bytes.IndexByte(b, 0); i >= 0 {
			return n + i + 1
		}
		n += len(b)
	}
	return n
}

// Append adds bytes from to to of the strings to dst.
func (s *Strings) Append(dst []byte, from, to int) []byte {
	for _, b := range s.Pieces {
		if from < len(b) && from < to {
			dst = append(dst, b[from:min(to, len(b))]...)
		}
		from, to = max(from-len(b), 0), max(to-len(b), 0)
	}
	return dst
}
