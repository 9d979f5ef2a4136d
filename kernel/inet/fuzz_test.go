package inet

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"grim/kernel/fs"
	"grim/mm/charge"
)

// FuzzFrames gives a machine with a listener and with sockets of UDP and ICMP frames of the
// network: any bytes, and for half of them the Ethernet header and the addresses of IPv4 that
// lead to these sockets. The machine must go on: a connection to itself works afterwards.
func FuzzFrames(f *testing.F) {
	for _, s := range []string{
		"ffffffffffff525400123457080600010800060400015254001234570a0002020000000000000a00020f",                                          // ARP: who has
		"525400123456525400123457080045000028000100004006000000000a0002020a00020f04d20050000000010000000050022000000000",                // TCP: SYN
		"525400123456525400123457080045000020000100004011000000000a0002020a00020f0043004400 0c00003132",                                 // UDP
		"52540012345652540012345708004500001c000100004001000000000a0002020a00020f0800f7ff00000000",                                      // ICMP: echo
		"52540012345652540012345786dd6000000000083aff fe80000000000000505400fffe123457fe80000000000000505400fffe1234568000000000000000", // ICMPv6: echo
		"525400123456525400123457080045000024000120004011000000000a0002020a00020f0043004400200000",                                      // a fragment
		"5254001234565254001234570800460000200001000040110000 0a0002020a00020f8304ffff0043004400080000",                                 // options
	} {
		var b []byte
		for _, c := range []byte(s) {
			if c != ' ' {
				b = append(b, c)
			}
		}
		raw, err := hex.DecodeString(string(b[:len(b)&^1]))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, false)
		f.Add(raw, true)
	}
	link := channel.New(256, 1514, "\x52\x54\x00\x12\x34\x56")
	w := newWorld(f)
	w.cfg.Link = func() (stack.LinkEndpoint, error) { return ethernet.New(link), nil }
	w.cfg.Address, w.cfg.Gateway = netip.MustParsePrefix("10.0.2.15/24"), netip.MustParseAddr("10.0.2.2")
	w.cfg.Kernel = charge.Unlimited().User(1)
	var open []fs.Sock
	for _, x := range []struct{ domain, typ, proto, port int }{
		{unix.AF_INET, unix.SOCK_STREAM, 0, 80}, {unix.AF_INET, unix.SOCK_DGRAM, 0, 68}, {unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, 0},
		{unix.AF_INET6, unix.SOCK_DGRAM, 0, 69}, {unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6, 0},
	} {
		k, err := w.family(x.domain)(nil, x.typ, x.proto)
		must(f, err)
		if x.port != 0 {
			size := unix.SizeofSockaddrInet4
			if x.domain == unix.AF_INET6 {
				size = unix.SizeofSockaddrInet6
			}
			a := make([]byte, size)
			binary.LittleEndian.PutUint16(a, uint16(x.domain))
			binary.BigEndian.PutUint16(a[2:], uint16(x.port))
			must(f, k.Bind(fs.At{}, a))
		}
		if x.typ == unix.SOCK_STREAM {
			must(f, k.Listen(nil, 4))
		}
		open = append(open, k)
	}
	f.Cleanup(func() {
		for _, k := range open {
			k.Close()
		}
		w.pass(time.Minute)
	})
	f.Fuzz(func(t *testing.T, frame []byte, lead bool) {
		if len(frame) > 1514 {
			return
		}
		w.t = t
		defer func() { w.t = f }()
		frame = append([]byte(nil), frame...)
		if lead && len(frame) >= 34 {
			copy(frame, "\x52\x54\x00\x12\x34\x56\x52\x54\x00\x12\x34\x57\x08\x00")
			ip := header.IPv4(frame[14:])
			copy(frame[26:34], []byte{10, 0, 2, 2, 10, 0, 2, 15})
			frame[14] = 0x45 | frame[14]&0xf
			binary.BigEndian.PutUint16(frame[16:], uint16(len(frame)-14))
			if n := int(ip.HeaderLength()); n >= 20 && n <= len(ip) {
				ip.SetChecksum(0)
				ip.SetChecksum(^ip.CalculateChecksum())
			}
		}
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
		link.InjectInbound(0, p)
		p.DecRef()
		for p := link.Read(); p != nil; p = link.Read() {
			p.DecRef()
		}
		a, b := w.pair()
		a.Close()
		b.Close()
		w.time.Advance(timeWait)
	})
}
