//go:build tamago

package kernel

import (
	"context"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// Listen accepts connections on a port of the machine. network is "tcp", and address is a
// port with or without an address before it, ":80" or "127.0.0.1:80". Programs and other
// tasks reach it by the machine's own addresses too. The network starts with the first call
// of this, of Dial, or of socket(2).
func (k *Kernel) Listen(network, address string) (net.Listener, error) {
	to, p, err := parseAddress(network, address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	l, err := gonet.ListenTCP(k.s.net.Stack(), to, p)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Dial connects to an address, such as "10.0.2.2:80" or "[::1]:80". There is no look-up of
// names. network is "tcp".
func (k *Kernel) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	to, p, err := parseAddress(network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	c, err := gonet.DialContextTCP(ctx, k.s.net.Stack(), to, p)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func parseAddress(network, address string) (to tcpip.FullAddress, p tcpip.NetworkProtocolNumber, err error) {
	if network != "tcp" {
		return to, 0, net.UnknownNetworkError(network)
	}
	if address != "" && address[0] == ':' {
		address = "0.0.0.0" + address
	}
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return to, 0, err
	}
	to.Port, p = a.Port(), ipv4.ProtocolNumber
	if !a.Addr().Is4() {
		p = ipv6.ProtocolNumber
	}
	if !a.Addr().IsUnspecified() {
		to.Addr = tcpip.AddrFromSlice(a.Addr().AsSlice())
	}
	return to, p, nil
}
