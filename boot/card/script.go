package card

import (
	"encoding/binary"
	"hash/crc32"
)

// The header of a U-Boot legacy image (U-Boot's include/image.h): big-endian.
const (
	scriptMagic  = 0x27051956
	scriptHeader = 64
	osLinux      = 5
	archARM64    = 22
	typeScript   = 6
)

// bootScript wraps commands in the form that U-Boot's "source" wants: a header with two
// checksums, a list of lengths that ends with 0, and the text.
func bootScript(name, text string) []byte {
	be := binary.BigEndian
	body := be.AppendUint32(nil, uint32(len(text)))
	body = be.AppendUint32(body, 0)
	body = append(body, text...)

	h := make([]byte, scriptHeader)
	be.PutUint32(h, scriptMagic)
	be.PutUint32(h[12:], uint32(len(body)))
	be.PutUint32(h[24:], crc32.ChecksumIEEE(body))
	h[28], h[29], h[30] = osLinux, archARM64, typeScript
	copy(h[32:63], name)
	be.PutUint32(h[4:], crc32.ChecksumIEEE(h)) // checksum of the header, in which this field is 0
	return append(h, body...)
}
