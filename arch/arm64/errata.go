package arm64

// needsCIVAC reports whether the CPU with this MIDR_EL1 needs DC CIVAC in place of DC CVAU.
// A Cortex-A53 up to r0p4 may lose a store of another CPU or device to a line that is
// cleaned but not invalidated, unless firmware has set a bit that EL1 cannot read (errata
// 819472, 824069, 827319 of r0p0 to r0p2 and 855873 of r0p3 and r0p4; Software Developers
// Errata Notice ARM-EPM-048406).
func needsCIVAC(midr uint64) bool {
	return core(midr) == cortexA53 && revision(midr) <= 0x04
}

// core is implementer and part number of MIDR_EL1, as speculation.go has them; revision is
// variant and revision, 0x31 for r3p1.
func core(midr uint64) uint64     { return midr>>8&(0xff<<16) | midr>>4&0xfff }
func revision(midr uint64) uint64 { return midr>>16&0xf0 | midr&15 }

// invalidatesTwice are cores on which a TLB invalidation that reaches other CPUs may be
// complete before an access by the old translation is. It is made twice there. Which
// cores is as Linux has it (ARM64_WORKAROUND_REPEAT_TLBI): erratum 1286807 of the
// Cortex-A76 up to r3p0, and errata 4118414 to 4193801 of that core in all revisions and of
// the cores that descend from it; 2441007 of the Cortex-A55, 2441009 of the Cortex-A510.
var invalidatesTwice = map[uint64]uint64{ // the last revision
	cortexA55: allRevisions, cortexA510: 0x11,
	cortexA76: allRevisions, cortexA76AE: allRevisions, cortexA77: allRevisions,
	cortexA78: allRevisions, cortexA78AE: allRevisions, cortexA78C: allRevisions,
	cortexA710: allRevisions, cortexX1: allRevisions, cortexX1C: allRevisions, cortexX2: allRevisions,
	cortexX3: allRevisions, cortexX4: allRevisions, cortexX925: allRevisions,
	neoverseN1: allRevisions, neoverseN2: allRevisions,
	neoverseV1: allRevisions, neoverseV2: allRevisions, neoverseV3: allRevisions, neoverseV3AE: allRevisions,
}

const allRevisions = 0xff

// needsTwice reports whether TLB invalidations must be made twice.
func needsTwice(midr uint64) bool {
	last, listed := invalidatesTwice[core(midr)]
	return listed && revision(midr) <= last
}

// fetchesStale reports whether the CPU may execute an old instruction where a new one is,
// although it says that its instruction cache needs no maintenance: a Neoverse N1 (erratum
// 1542419). Firmware has its IC IVAU trap then, and makes a TLB invalidation of it, which
// helps. So programs must be told that maintenance is needed.
func fetchesStale(midr, ctr uint64) bool { return core(midr) == neoverseN1 && ctr&ctrDIC != 0 }

// Fields of CTR_EL0 (Arm ARM D24.2.34).
const (
	ctrIminAt = 0  // log2 of words of the smallest line of the instruction caches
	ctrL1IpAt = 14 // 2 bits: how the instruction cache is indexed
	ctrDminAt = 16 // as ctrIminAt, of the data caches
	ctrERGAt  = 20 // log2 of words: the most that exclusive accesses reserve
	ctrCWGAt  = 24 // the most that is written back at once; 0 is unknown
	ctrIDC    = 1 << 28
	ctrDIC    = 1 << 29
	ctrTminAt = 32 // 6 bits, as ctrDminAt, of allocation tags

	ctrVIPT = 2 // of L1Ip: the kind for which most maintenance is needed
)

// coreRules is what the machine's CPUs ask for, all together: a thread may go from one to
// another, and what one CPU does is to be seen by all.
type coreRules struct {
	ctr    uint64 // CTR_EL0 that holds for all
	differ bool   // no CPU may show programs its own
	civac  bool   // lines must be cleaned with invalidation, see needsCIVAC
	twice  bool   // TLB invalidations are made twice
	stale  bool   // a CPU may fetch stale instructions, see fetchesStale
	joined bool   // there is a CPU
}

// join adds a CPU.
func (r *coreRules) join(midr, ctr uint64) {
	r.civac = r.civac || needsCIVAC(midr)
	r.twice = r.twice || needsTwice(midr)
	r.stale = r.stale || fetchesStale(midr, ctr)
	if !r.joined {
		r.ctr, r.joined = ctr, true
	}
	r.differ = r.differ || r.stale || r.ctr != ctr
	r.ctr = bothCTR(r.ctr, ctr)
}

// bothCTR is the CTR_EL0 that is right on two CPUs.
func bothCTR(a, b uint64) uint64 {
	if a == b {
		return a
	}
	field := func(v uint64, at, bits uint) uint64 { return v >> at & (1<<bits - 1) }
	least := func(at, bits uint) uint64 { return min(field(a, at, bits), field(b, at, bits)) << at }
	most := func(at uint) uint64 {
		x, y := field(a, at, 4), field(b, at, 4)
		if x == 0 || y == 0 {
			return 0 // unknown, which is as large as it may be
		}
		return max(x, y) << at
	}
	out := least(ctrIminAt, 4) | least(ctrDminAt, 4) | least(ctrTminAt, 6) | most(ctrERGAt) | most(ctrCWGAt)
	if x := field(a, ctrL1IpAt, 2); x == field(b, ctrL1IpAt, 2) {
		out |= x << ctrL1IpAt
	} else {
		out |= ctrVIPT << ctrL1IpAt
	}
	return out | a&b&(ctrIDC|ctrDIC) | 1<<31 // RES1
}

// line is the smallest line of any CPU's data caches, in bytes.
func (r *coreRules) line() uintptr { return 4 << (r.ctr >> ctrDminAt & 15) }

// coherent reports whether all CPUs' instruction fetches see stores without any maintenance.
func (r *coreRules) coherent() bool { return r.ctr&(ctrIDC|ctrDIC) == ctrIDC|ctrDIC && !r.stale }

// shown is CTR_EL0 as programs see it. Where firmware traps their maintenance it is called
// once for each line, so the line is said to be a page.
func (r *coreRules) shown() uint64 {
	if r.stale {
		return r.ctr&^(ctrDIC|15<<ctrIminAt) | 10<<ctrIminAt
	}
	return r.ctr
}
