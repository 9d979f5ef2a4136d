package image

import (
	"encoding/binary"
	"reflect"
	"testing"
)

// Instruction words, assembled by LLVM.
const (
	insLoad0     = 0xf9400020 // ldr x0, [x1]
	insLoad2     = 0xf9400022 // ldr x2, [x1]
	insStore     = 0xf9000020 // str x0, [x1]
	insStorePair = 0xa9000440 // stp x0, x1, [x2]
	insLoadPair  = 0xa9401043 // ldp x3, x4, [x2]
	insLoadQ     = 0x3dc00020 // ldr q0, [x1]
	insLoadW6    = 0xb9400026 // ldr w6, [x1]
	insPrefetch  = 0xf9800020 // prfm pldl1keep, [x1]
	insExclusive = 0xc85f7c22 // ldxr x2, [x1]
	insAtomic    = 0xf8210062 // ldadd x1, x2, [x3]
	insAdd       = 0x8b020020 // add x0, x1, x2
	insMadd      = 0x9b031040 // madd x0, x2, x3, x4
	insMsub6     = 0x9b0390c0 // msub x0, x6, x3, x4
	insMaddW     = 0x1b031040 // madd w0, w2, w3, w4
	insMul       = 0x9b037c40 // mul x0, x2, x3
	insSmaddl    = 0x9b231040 // smaddl x0, w2, w3, x4
	insUmsubl    = 0x9ba39440 // umsubl x0, w2, w3, x5
	insSmulh     = 0x9b437c40 // smulh x0, x2, x3
	insAdrp7     = 0xb0000007 // adrp x7, #4096
	insLoadBy7   = 0xf94008e8 // ldr x8, [x7, #16]
	insStoreBy7  = 0xf90008e8 // str x8, [x7, #16]
	insLoad7     = 0xf9400127 // ldr x7, [x9]
	insLiteral   = 0x58000041 // ldr x1, #8
	insNop       = 0xd503201f
)

func TestErratum835769(t *testing.T) {
	for _, c := range []struct {
		name          string
		first, second uint32
		want          bool
	}{
		{"load of something else", insLoad0, insMadd, true},
		{"load of a factor", insLoad2, insMadd, false},
		{"load of a factor, MSUB", insLoadW6, insMsub6, false},
		{"load of something else, MSUB", insLoad2, insMsub6, true},
		{"load of a pair with a factor and the addend", insLoadPair, insMadd, false},
		{"store", insStore, insMadd, true},
		{"store of a pair", insStorePair, insMadd, true},
		{"vector load", insLoadQ, insMadd, true},
		{"prefetch", insPrefetch, insMadd, true},
		{"exclusive load, which is not looked into", insExclusive, insMadd, true},
		{"atomic", insAtomic, insMadd, true},
		{"widening", insStore, insSmaddl, true},
		{"widening, unsigned", insStore, insUmsubl, true},
		{"32 bits", insStore, insMaddW, false},
		{"multiplication", insStore, insMul, false},
		{"upper half", insStore, insSmulh, false},
		{"no access before", insAdd, insMadd, false},
		{"other order", insMadd, insStore, false},
	} {
		if got := is835769(c.first, c.second); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestErratum843419(t *testing.T) {
	for _, c := range []struct {
		name string
		at   uint64 // in the page
		code []uint32
		want uint64 // index of the instruction to move; 0: none
	}{
		{"three", 0xff8, []uint32{insAdrp7, insStore, insLoadBy7, insNop}, 2},
		{"three, last word", 0xffc, []uint32{insAdrp7, insLoad0, insStoreBy7, insNop}, 2},
		{"four", 0xffc, []uint32{insAdrp7, insStore, insAdd, insLoadBy7}, 3},
		{"elsewhere in the page", 0xff4, []uint32{insAdrp7, insStore, insLoadBy7, insNop}, 0},
		{"the register is loaded", 0xff8, []uint32{insAdrp7, insLoad7, insLoadBy7, insNop}, 0},
		{"no access between", 0xff8, []uint32{insAdrp7, insAdd, insLoadBy7, insNop}, 0},
		{"another register", 0xff8, []uint32{insAdrp7, insStore, insLoad0, insNop}, 0},
	} {
		var b words
		for _, v := range c.code {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		var want []Erratum
		if c.want != 0 {
			want = []Erratum{{Number: 843419, Addr: 0x1000 + c.at + 4*c.want}}
		}
		if got := scan(b, 0x1000+c.at); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, want)
		}
	}
}

// TestLiterals: constants behind a function that look like a sequence are left alone.
func TestLiterals(t *testing.T) {
	var b words
	for _, v := range []uint32{insLiteral, insNop, insStore, insMadd, insStore, insMadd} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	if got, want := scan(b, 0), []Erratum{{Number: 835769, Addr: 20}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestFixErrata: the multiply-add is in the stub, with branches there and back, and a
// second call finds nothing.
func TestFixErrata(t *testing.T) {
	k := goodARM64()
	k.efiName, k.efi = erratumStubs, k.text+0x40
	file := k.build()
	code := words(file[0x1000:]) // where build puts the text
	for i := range 0x2000 / 4 {
		code.put(i, insNop)
	}
	for i := range 8 {
		code.put(0x40/4+i, brk)
	}
	for i, at := range []int{4, 0x100} {
		code.put(at, insStore)
		code.put(at+1, []uint32{insMadd, insSmaddl}[i])
	}
	got, err := FixErrata(file)
	want := []Erratum{{835769, k.text + 4*5, k.text + 0x40}, {835769, k.text + 4*0x101, k.text + 0x48}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v, want %+v", got, err, want)
	}
	for i, w := range map[int]uint32{
		5: 0x14000000 + 16 - 5, 16: insMadd, 17: 0x14000000 | (1<<26 - 11), // B to 16; B from 17 to 6
		0x101: 0x14000000 | (1<<26 - 0xef), 18: insSmaddl, 19: 0x14000000 + 0xef, 20: brk,
	} {
		if code.at(i) != w {
			t.Errorf("word %#x is %#x, want %#x", i, code.at(i), w)
		}
	}
	if got, err := FixErrata(file); got != nil || err != nil {
		t.Errorf("again: %+v, %v", got, err)
	}
	// Two more sequences fill the space, and there is none for the third.
	for _, at := range []int{0x200, 0x210} {
		code.put(at, insStore)
		code.put(at+1, insMadd)
	}
	if got, err := FixErrata(file); len(got) != 2 || got[0].Stub != k.text+0x50 || err != nil {
		t.Errorf("more: %+v, %v", got, err)
	}
	code.put(0x220, insStore)
	code.put(0x221, insMadd)
	if got, err := FixErrata(file); err == nil {
		t.Errorf("no room: %+v", got)
	}
}
