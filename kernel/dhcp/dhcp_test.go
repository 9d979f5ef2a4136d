package dhcp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var mac = net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}

// wire is the client's connection to a server, in memory. Every message of the client is
// given to answer, and what that returns comes back at once.
type wire struct {
	t      *testing.T
	in     chan []byte
	ended  chan struct{}
	answer func(to net.IP, m *dhcpv4.DHCPv4) [][]byte
}

func (w *wire) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case p := <-w.in:
		return copy(b, p), &net.UDPAddr{}, nil
	case <-w.ended:
		return 0, nil, net.ErrClosed
	}
}

func (w *wire) WriteTo(b []byte, to net.Addr) (int, error) {
	m, err := dhcpv4.FromBytes(b)
	if err != nil {
		w.t.Errorf("the client sends %x: %v", b, err)
		return 0, err
	}
	for _, p := range w.answer(to.(*net.UDPAddr).IP, m) {
		w.in <- p
	}
	return len(b), nil
}

func (w *wire) Close() error                     { close(w.ended); return nil }
func (w *wire) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// server is a good server for one client. Its fields say how it is not.
type server struct {
	mu      sync.Mutex // all that follows
	silent  bool
	refuses bool
	without []dhcpv4.OptionCode
	more    []dhcpv4.Modifier // changes to each answer
	id      net.IP
	seen    []string // "DISCOVER to 255.255.255.255" and so on
}

var (
	serverIP = net.IPv4(10, 0, 2, 2).To4()
	clientIP = net.IPv4(10, 0, 2, 15).To4()
)

// change changes the server while the client runs.
func (s *server) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

func (s *server) answer(to net.IP, m *dhcpv4.DHCPv4) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, fmt.Sprintf("%v to %v", m.MessageType(), to))
	if s.silent {
		return nil
	}
	id := s.id
	if id == nil {
		id = serverIP
	}
	kind := dhcpv4.MessageTypeOffer
	if m.MessageType() == dhcpv4.MessageTypeRequest {
		kind = dhcpv4.MessageTypeAck
	}
	if s.refuses {
		kind = dhcpv4.MessageTypeNak
	}
	a, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.PrependModifiers(s.more, dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(id)), dhcpv4.WithYourIP(clientIP), dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithOption(dhcpv4.OptRouter(serverIP)), dhcpv4.WithOption(dhcpv4.OptDNS(net.IPv4(10, 0, 2, 3))),
		dhcpv4.WithLeaseTime(86400))...)
	if err != nil {
		panic(err)
	}
	for _, o := range s.without {
		a.Options.Del(o)
	}
	return [][]byte{a.ToBytes()}
}

// run runs a client with a server for some time, which passes at once. The log has what the
// client did, each line with the second.
func run(t *testing.T, d time.Duration, s *server, during func()) (log []string) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{t: t, in: make(chan []byte, 10), ended: make(chan struct{}), answer: s.answer}
		log = runOn(t, d, w, during)
	})
	return log
}

func runOn(t *testing.T, d time.Duration, w *wire, during func()) (log []string) {
	ctx, cancel := context.WithCancel(t.Context())
	begin := time.Now()
	say := func(text string) { log = append(log, fmt.Sprintf("%.0f %s", time.Since(begin).Seconds(), text)) }
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = Run(ctx, Config{
			Conn: w, MAC: mac, Log: say,
			Set:  func(l Lease) { say(fmt.Sprintf("set %v by %v, %v", l.Address, l.Gateway, l.NameServers)) },
			Drop: func() { say("drop") },
		})
	}()
	if during != nil {
		during()
	}
	time.Sleep(d - time.Since(begin))
	cancel()
	<-done
	return log
}

func check(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const set = "set 10.0.2.15/24 by 10.0.2.2, [10.0.2.3]"

// TestLease gets an address, and renews it after half of the lease, from the server alone.
func TestLease(t *testing.T) {
	s := &server{}
	check(t, "log", run(t, 100000*time.Second, s, nil), "0 "+set, "43200 "+set, "86400 "+set)
	check(t, "messages", s.seen, "DISCOVER to 255.255.255.255", "REQUEST to 255.255.255.255", "REQUEST to 10.0.2.2", "REQUEST to 10.0.2.2")
}

// TestTimes: a server's own times for renewal hold if they are in order.
func TestTimes(t *testing.T) {
	s := &server{more: []dhcpv4.Modifier{dhcpv4.WithLeaseTime(1000),
		dhcpv4.WithGeneric(dhcpv4.OptionRenewTimeValue, []byte{0, 0, 0, 200}), dhcpv4.WithGeneric(dhcpv4.OptionRebindingTimeValue, []byte{0, 0, 1, 144})}}
	check(t, "log", run(t, 500*time.Second, s, nil), "0 "+set, "200 "+set, "400 "+set)
	s.more[2] = dhcpv4.WithGeneric(dhcpv4.OptionRebindingTimeValue, []byte{0, 0, 0, 100})
	check(t, "log, with times that are out of order", run(t, 600*time.Second, s, nil), "0 "+set, "500 "+set)
}

// TestSilence: without an answer the client says so, and tries again after longer and longer
// times, three messages each. When the server is there, it gets its address.
func TestSilence(t *testing.T) {
	s := &server{silent: true}
	log := run(t, 200*time.Second, s, func() {
		time.Sleep(100 * time.Second)
		s.change(func() { s.silent = false })
	})
	none := "no address by DHCP: no answer; the next try is in "
	check(t, "log", log, "14 "+none+"4s", "32 "+none+"8s", "54 "+none+"16s", "84 "+none+"32s", "116 "+set)
}

// TestPauses: the client does not stop asking, and asks for ever at the longest pause.
func TestPauses(t *testing.T) {
	s := &server{silent: true}
	log := run(t, 10*time.Hour, s, nil)
	if n := len(log); n < 100 || n > 130 || !strings.HasSuffix(log[n-1], "in 5m0s") {
		t.Errorf("%d tries, the last %q", len(log), log[len(log)-1])
	}
}

// TestRefused: a server refuses to renew a lease. The address is given up at once, and the
// client asks for a new one.
func TestRefused(t *testing.T) {
	s := &server{}
	log := run(t, 50000*time.Second, s, func() {
		time.Sleep(43000 * time.Second)
		s.change(func() { s.refuses = true })
		time.Sleep(204 * time.Second)
		s.change(func() { s.refuses = false })
	})
	check(t, "log", log, "0 "+set, "43200 drop", "43200 the lease of 10.0.2.15/24 was not renewed: the server refuses",
		"43206 "+set)
}

// TestEnd: the server is gone when the lease should be renewed. The client asks it again,
// then all servers, and gives the address up when the lease has ended.
func TestEnd(t *testing.T) {
	s := &server{more: []dhcpv4.Modifier{dhcpv4.WithLeaseTime(1600)}}
	log := run(t, 1700*time.Second, s, func() {
		time.Sleep(time.Second)
		s.change(func() { s.silent = true })
	})
	check(t, "log", log, "0 "+set, "1600 drop", "1600 the lease of 10.0.2.15/24 has ended",
		"1614 no address by DHCP: no answer; the next try is in 4s", "1632 no address by DHCP: no answer; the next try is in 8s",
		"1654 no address by DHCP: no answer; the next try is in 16s", "1684 no address by DHCP: no answer; the next try is in 32s")
	first, to := 0, 0
	for _, m := range s.seen[2:] {
		switch m {
		case "REQUEST to 10.0.2.2":
			first++
			if to > 0 {
				t.Error("the lease's server alone was asked after all were")
			}
		case "REQUEST to 255.255.255.255":
			to++
		}
	}
	if first < 3 || to < 3 || first > 30 || to > 30 {
		t.Errorf("the server was asked %d times, all servers %d times", first, to)
	}
}

// TestRebind: another server answers when the first is gone, and renews the lease from then on.
func TestRebind(t *testing.T) {
	s := &server{}
	log := run(t, 130000*time.Second, s, func() {
		time.Sleep(time.Second)
		s.change(func() { s.id = net.IPv4(10, 0, 2, 4).To4() }) // its answers do not count as those of the first
	})
	check(t, "log", log, "0 "+set, "75600 "+set, "118800 "+set)
	if last := s.seen[len(s.seen)-1]; last != "REQUEST to 10.0.2.4" {
		t.Errorf("the last message was %s", last)
	}
}

// TestBad: answers that no server may give lead to no address, and to a line that says why.
func TestBad(t *testing.T) {
	for why, s := range map[string]*server{
		"the server offers the address 0.0.0.0 with the mask ffffff00":         {more: []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4zero)}},
		"the server offers the address 127.0.0.1 with the mask ffffff00":       {more: []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1))}},
		"the server offers the address 224.0.0.1 with the mask ffffff00":       {more: []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(224, 0, 0, 1))}},
		"the server offers the address 255.255.255.255 with the mask ffffff00": {more: []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4bcast)}},
		"the server offers the address 10.0.2.255/24, of the network itself":   {more: []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(10, 0, 2, 255))}},
		"the server offers the address 10.0.2.0/24, of the network itself":     {more: []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(10, 0, 2, 0))}},
		"the server offers the address 10.0.2.15 with the mask ff00ff00":       {more: []dhcpv4.Modifier{dhcpv4.WithNetmask(net.IPMask{255, 0, 255, 0})}},
		"the server offers the address 10.0.2.15 with the mask 00000000":       {more: []dhcpv4.Modifier{dhcpv4.WithNetmask(net.IPMask{0, 0, 0, 0})}},
		"the answer names no server":                                           {without: []dhcpv4.OptionCode{dhcpv4.OptionServerIdentifier}},
		"the server offers the address for 59s":                                {more: []dhcpv4.Modifier{dhcpv4.WithLeaseTime(59)}},
		"the server offers the address for 0s":                                 {without: []dhcpv4.OptionCode{dhcpv4.OptionIPAddressLeaseTime}},
		"no answer":                                                            {more: []dhcpv4.Modifier{func(m *dhcpv4.DHCPv4) { m.TransactionID[0]++ }}},
	} {
		log := run(t, 15*time.Second, s, nil)
		check(t, "log", log, "14 no address by DHCP: "+why+"; the next try is in 4s")
	}
}

// TestLeftOut: what can be done without is left out if it cannot be right.
func TestLeftOut(t *testing.T) {
	s := &server{more: []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(10, 0, 3, 1))), dhcpv4.WithOption(dhcpv4.OptDNS(net.IPv4zero, net.IPv4(10, 0, 2, 9)))}}
	check(t, "log", run(t, time.Second, s, nil), "0 set 10.0.2.15/24 by invalid IP, [10.0.2.9]")
	s = &server{without: []dhcpv4.OptionCode{dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer}}
	check(t, "log", run(t, time.Second, s, nil), "0 set 10.0.2.15/8 by invalid IP, []")
}

// FuzzAnswer gives the client any bytes as an answer, after others have set the number of
// the transaction and the client's address. What it takes for a lease must be usable.
func FuzzAnswer(f *testing.F) {
	m, err := dhcpv4.NewDiscovery(mac)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []*server{{}, {refuses: true}, {more: []dhcpv4.Modifier{dhcpv4.WithNetmask(net.CIDRMask(31, 32))}}} {
		f.Add(s.answer(net.IPv4bcast, m)[0])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := dhcpv4.FromBytes(b); err == nil {
			if l, err := leaseOf(m); err == nil {
				usable(t, l)
			}
		}
		synctest.Test(t, func(t *testing.T) {
			w := &wire{t: t, in: make(chan []byte, 10), ended: make(chan struct{}), answer: func(_ net.IP, m *dhcpv4.DHCPv4) [][]byte {
				p := slices.Clone(b)
				if len(p) >= 34 {
					copy(p[4:8], m.TransactionID[:])
					copy(p[28:34], mac)
				}
				return [][]byte{p}
			}}
			if n := len(runOn(t, time.Minute, w, nil)); n > 20 {
				t.Errorf("%d lines in a minute", n)
			}
		})
	})
}

// usable checks what the rest of the kernel counts on.
func usable(t *testing.T, l Lease) {
	a := l.Address.Addr()
	if !l.Address.IsValid() || !host(a) || l.Address.Bits() == 0 || !host(l.Server) ||
		l.Gateway.IsValid() && (!l.Address.Contains(l.Gateway) || l.Gateway == a) ||
		l.End < leastLease || l.Renew <= 0 || l.Rebind <= l.Renew || l.End <= l.Rebind {
		t.Errorf("%+v", l)
	}
	for age := time.Duration(0); age < l.End; {
		next := nextTry(l, age)
		if next <= age || next > l.End || next-age < leastLease/2 && next != l.End && next != l.Rebind {
			t.Fatalf("%+v: at %v the next try is at %v", l, age, next)
		}
		age = next
	}
	for _, n := range l.NameServers {
		if !n.Is4() || n == (netip.Addr{}) {
			t.Errorf("name server %v", n)
		}
	}
}
