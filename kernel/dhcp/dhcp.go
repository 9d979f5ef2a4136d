// Package dhcp gets an IPv4 address for a network interface by DHCP (RFC 2131), and keeps
// it. Messages and exchanges are those of github.com/insomniacslk/dhcp. This package has the
// client's states: it asks again and again until there is an answer, renews the lease in
// time, and gives the address up when its lease has ended or was refused.
//
// Everything that comes from the network is checked here (leaseOf) before anything else
// sees it. It is plain Go, runs in goroutines of its own, and takes no lock.
package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// Lease is what a server has given.
type Lease struct {
	Address     netip.Prefix
	Gateway     netip.Addr   // not valid: none
	NameServers []netip.Addr // may be empty
	Server      netip.Addr   // it renews the lease

	// Times from the moment of the request: when the client asks the server to renew the
	// lease, when it asks any server, and when the lease ends.
	Renew, Rebind, End time.Duration
}

// Config is what a client needs.
type Config struct {
	// Conn sends and receives on port 68 of the interface, with the address 0.0.0.0 while
	// there is no lease. The client closes it.
	Conn net.PacketConn
	MAC  net.HardwareAddr
	// Set is called with each lease: a new one, or one that was renewed.
	Set func(Lease)
	// Drop is called when the address may no longer be used.
	Drop func()
	// Log takes messages for the console.
	Log func(line string)
}

// Times of the client.
const (
	answerTime = 2 * time.Second // for the first try of an exchange; it doubles with each
	tries      = 3
	firstPause = 4 * time.Second // after an exchange without an answer; it doubles with each
	lastPause  = 5 * time.Minute
	// leastLease is the shortest lease that is taken. A server must not be able to keep the
	// client busy.
	leastLease = time.Minute
	// renewPause is the least time between two requests for the same lease (RFC 2131, 4.4.5).
	renewPause = time.Minute
)

// errRefused: the server does not know the lease (any more).
var errRefused = errors.New("the server refuses")

// Goroutines is how many goroutines a client is: the one that calls Run, and the library's,
// which reads.
const Goroutines = 2

// Run gets an address and keeps it, until ctx ends.
func Run(ctx context.Context, c Config) error {
	// Offers and acknowledgements come to the broadcast address, as an interface without an
	// address cannot receive others.
	client, err := nclient4.NewWithConn(c.Conn, c.MAC, nclient4.WithTimeout(answerTime), nclient4.WithRetry(tries))
	if err != nil {
		return err
	}
	defer client.Close()
	d := &session{Config: c, client: client}
	pause := firstPause
	for ctx.Err() == nil {
		l, err := d.obtain(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			c.Log(fmt.Sprintf("no address by DHCP: %v; the next try is in %v", err, pause))
			sleep(ctx, pause)
			pause = min(2*pause, lastPause)
			continue
		}
		pause = firstPause
		d.keep(ctx, l)
	}
	return ctx.Err()
}

// session is a running client.
type session struct {
	Config
	client *nclient4.Client
}

// exchange sends a message, again if necessary, until there is an answer of one of the kinds
// with a lease that is good. from is the server that it must come from; not valid: any.
func (d *session) exchange(ctx context.Context, to net.IP, m *dhcpv4.DHCPv4, from netip.Addr, kinds ...dhcpv4.MessageType) (l Lease, err error) {
	var bad error
	kind := nclient4.IsMessageType(kinds[0], kinds[1:]...)
	answer, err := d.client.SendAndRead(ctx, &net.UDPAddr{IP: to, Port: nclient4.ServerPort}, m, func(a *dhcpv4.DHCPv4) bool {
		if !kind(a) || from.IsValid() && address(a.ServerIdentifier()) != from {
			return false
		}
		if a.MessageType() == dhcpv4.MessageTypeNak {
			return true
		}
		l, bad = leaseOf(a)
		return bad == nil
	})
	switch {
	case errors.Is(err, nclient4.ErrNoResponse) && bad != nil:
		return l, bad
	case errors.Is(err, nclient4.ErrNoResponse):
		return l, errors.New("no answer")
	case err != nil:
		return l, err
	case answer.MessageType() == dhcpv4.MessageTypeNak:
		return l, errRefused
	}
	return l, nil
}

// wanted are the options that the client asks for.
var wanted = dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer)

// obtain gets a new lease: states INIT, SELECTING and REQUESTING.
func (d *session) obtain(ctx context.Context) (l Lease, err error) {
	m, err := dhcpv4.NewDiscovery(d.MAC, dhcpv4.WithBroadcast(true), wanted)
	if err != nil {
		return l, err
	}
	offer, err := d.exchange(ctx, net.IPv4bcast, m, netip.Addr{}, dhcpv4.MessageTypeOffer)
	if err != nil {
		return l, err
	}
	m, err = d.request(dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.Address.Addr().AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.Server.AsSlice())))
	if err != nil {
		return l, err
	}
	return d.exchange(ctx, net.IPv4bcast, m, offer.Server, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak)
}

func (d *session) request(modifiers ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	return dhcpv4.New(dhcpv4.PrependModifiers(modifiers, dhcpv4.WithHwAddr(d.MAC), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), wanted)...)
}

// keep uses a lease and renews it until it ends or a server refuses: states BOUND, RENEWING
// and REBINDING.
func (d *session) keep(ctx context.Context, l Lease) {
	begin := time.Now()
	d.Set(l)
	for {
		age := time.Since(begin)
		next := nextTry(l, age)
		sleep(ctx, next-age)
		switch {
		case ctx.Err() != nil:
			return
		case next >= l.End:
			d.Drop()
			d.Log(fmt.Sprintf("the lease of %v has ended", l.Address))
			return
		}
		asked := time.Now()
		renewed, err := d.renew(ctx, l, next >= l.Rebind, begin.Add(l.End))
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errRefused) || err == nil && renewed.Address != l.Address:
			d.Drop()
			d.Log(fmt.Sprintf("the lease of %v was not renewed: the server refuses", l.Address))
			return
		case err == nil:
			l, begin = renewed, asked
			d.Set(l)
		}
	}
}

// nextTry is when, in the life of a lease, the next thing is to be done: the first request
// at Renew, the next ones after half of the time that is left to Rebind or to the end.
func nextTry(l Lease, age time.Duration) time.Duration {
	switch {
	case age < l.Renew:
		return l.Renew
	case age < l.Rebind:
		return min(age+max((l.Rebind-age)/2, renewPause), l.Rebind)
	}
	return min(age+max((l.End-age)/2, renewPause), l.End)
}

// renew asks the lease's server, or any server, to renew a lease.
func (d *session) renew(ctx context.Context, l Lease, anybody bool, end time.Time) (Lease, error) {
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	m, err := d.request(dhcpv4.WithClientIP(l.Address.Addr().AsSlice()))
	if err != nil {
		return l, err
	}
	to, from := net.IP(l.Server.AsSlice()), l.Server
	if anybody {
		to, from = net.IPv4bcast, netip.Addr{}
	}
	return d.exchange(ctx, to, m, from, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak)
}

// sleep returns after d, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// address returns an IPv4 address of the library's; not valid if it is none.
func address(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip.To4())
	return a
}

// host reports whether a is an address that one host can have.
func host(a netip.Addr) bool {
	return a.IsValid() && a.As4()[0] != 0 && a.As4()[0] < 224 && !a.IsLoopback()
}

// leaseOf reads a lease out of an offer or an acknowledgement. The error says what is wrong
// with it. A gateway or a name server that cannot be one is left out.
func leaseOf(m *dhcpv4.DHCPv4) (l Lease, err error) {
	a := address(m.YourIPAddr)
	mask := m.SubnetMask()
	if mask == nil && a.IsValid() {
		mask = net.IP(a.AsSlice()).DefaultMask()
	}
	ones, bits := mask.Size()
	if !host(a) || bits != 32 || ones == 0 {
		return l, fmt.Errorf("the server offers the address %v with the mask %v", m.YourIPAddr, mask)
	}
	l.Address = netip.PrefixFrom(a, ones)
	if first, last := l.Address.Masked().Addr(), lastOf(l.Address); ones < 31 && (a == first || a == last) {
		return l, fmt.Errorf("the server offers the address %v, of the network itself", l.Address)
	}
	if l.Server = address(m.ServerIdentifier()); !host(l.Server) {
		return l, errors.New("the answer names no server")
	}
	if r := m.Router(); len(r) > 0 {
		if g := address(r[0]); host(g) && g != a && l.Address.Contains(g) {
			l.Gateway = g
		}
	}
	for _, n := range m.DNS() {
		if n := address(n); host(n) {
			l.NameServers = append(l.NameServers, n)
		}
	}
	l.End = m.IPAddressLeaseTime(0)
	if l.End < leastLease {
		return l, fmt.Errorf("the server offers the address for %v", l.End)
	}
	l.Renew, l.Rebind = m.IPAddressRenewalTime(0), m.IPAddressRebindingTime(0)
	if l.Renew < leastLease/2 || l.Rebind <= l.Renew || l.End <= l.Rebind {
		l.Renew, l.Rebind = l.End/2, l.End/8*7
	}
	return l, nil
}

// lastOf returns the broadcast address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}
