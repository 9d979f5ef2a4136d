package inet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"grim/kernel/dhcp"
)

// firstWait is how long the first socket waits for an address by DHCP. A program that
// connects at once should find the network there.
const firstWait = 3 * time.Second

// noAddress is eth0's address while it has none: with it DHCP's messages can be sent.
var noAddress = tcpip.AddressWithPrefix{Address: header.IPv4Any, PrefixLen: 32}

func (n *Net) say(what string, err tcpip.Error) bool {
	if err != nil {
		n.cfg.Log("network: " + what + ": " + err.String())
	}
	return err == nil
}

func (n *Net) addAddress(nic tcpip.NICID, p tcpip.NetworkProtocolNumber, a tcpip.AddressWithPrefix) {
	n.say("address "+a.String(), n.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: p, AddressWithPrefix: a}, stack.AddressProperties{}))
}

func addressOf(a netip.Addr) tcpip.Address { return tcpip.AddrFrom4(a.As4()) }

// setAddress makes p eth0's only IPv4 address, with its routes beside those of the start.
// If p is not valid, eth0 has none. It is called by one goroutine at a time.
func (n *Net) setAddress(p netip.Prefix, gateway netip.Addr) {
	next := tcpip.AddressWithPrefix{}
	if p.IsValid() {
		next = tcpip.AddressWithPrefix{Address: addressOf(p.Addr()), PrefixLen: p.Bits()}
	} else if n.cfg.DHCP {
		next = noAddress
	}
	if n.eth != next {
		if n.eth.Address.Len() != 0 {
			n.say("address "+n.eth.String(), n.stack.RemoveAddress(ethNIC, n.eth.Address))
		}
		if next.Address.Len() != 0 {
			n.addAddress(ethNIC, ipv4.ProtocolNumber, next)
		}
		n.eth = next
	}
	routes := n.routes[:len(n.routes):len(n.routes)]
	if p.IsValid() {
		routes = append(routes, tcpip.Route{Destination: next.Subnet(), NIC: ethNIC})
		if gateway.IsValid() {
			routes = append(routes, tcpip.Route{Destination: header.IPv4EmptySubnet, Gateway: addressOf(gateway), NIC: ethNIC})
		}
	}
	n.stack.SetRouteTable(routes)
}

// startDHCP starts the client for eth0, and waits a moment for its first address. It returns
// false if there is no client.
func (n *Net) startDHCP(mac tcpip.LinkAddress) bool {
	conn, err := n.dhcpConn()
	if err != nil {
		n.say("DHCP", err)
		return false
	}
	first := make(chan struct{})
	done := sync.OnceFunc(func() { close(first) })
	var has dhcp.Lease
	ctx, end := context.WithCancel(context.Background())
	n.endDHCP = end
	go func() {
		err := dhcp.Run(ctx, dhcp.Config{
			Conn: conn, MAC: net.HardwareAddr(mac),
			Set: func(l dhcp.Lease) {
				n.setAddress(l.Address, l.Gateway)
				if l.Address != has.Address || l.Gateway != has.Gateway {
					n.cfg.Log(fmt.Sprintf("network: eth0 has %v by DHCP from %v, for %v", l.Address, l.Server, l.End))
				}
				has = l
				if n.cfg.NameServers != nil {
					n.cfg.NameServers(l.NameServers)
				}
				done()
			},
			Drop: func() {
				has = dhcp.Lease{}
				n.setAddress(netip.Prefix{}, netip.Addr{})
			},
			Log: func(line string) { n.cfg.Log("network: eth0: " + line) },
		})
		n.cfg.Log(fmt.Sprintf("network: DHCP: %v", err))
		done()
	}()
	late := time.NewTimer(n.firstWait)
	defer late.Stop()
	select {
	case <-first:
	case <-late.C:
		n.cfg.Log("network: eth0: no address by DHCP yet")
	}
	return true
}

// dhcpConn is a socket of eth0 on the port of DHCP clients, which may broadcast.
func (n *Net) dhcpConn() (net.PacketConn, tcpip.Error) {
	wq := new(waiter.Queue)
	ep, err := n.stack.NewEndpoint(udp.ProtocolNumber, ipv4.ProtocolNumber, wq)
	if err != nil {
		return nil, err
	}
	ep.SocketOptions().SetBroadcast(true)
	if err := ep.Bind(tcpip.FullAddress{NIC: ethNIC, Port: 68}); err != nil {
		ep.Close()
		return nil, err
	}
	return conn4{gonet.NewUDPConn(wq, ep)}, nil
}

// conn4 is a connection to which addresses of IPv4 may be given in the form with 16 bytes.
type conn4 struct{ *gonet.UDPConn }

func (c conn4) WriteTo(b []byte, to net.Addr) (int, error) {
	if a, ok := to.(*net.UDPAddr); ok {
		to = &net.UDPAddr{IP: a.IP.To4(), Port: a.Port}
	}
	return c.UDPConn.WriteTo(b, to)
}
