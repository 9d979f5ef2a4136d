#include "textflag.h"

#define ZVA16 \
	WORD $0xd50b7420; ADD $64, R0; WORD $0xd50b7420; ADD $64, R0; \
	WORD $0xd50b7420; ADD $64, R0; WORD $0xd50b7420; ADD $64, R0; \
	WORD $0xd50b7420; ADD $64, R0; WORD $0xd50b7420; ADD $64, R0; \
	WORD $0xd50b7420; ADD $64, R0; WORD $0xd50b7420; ADD $64, R0; \
	WORD $0xd50b7420; ADD $64, R0; WORD $0xd50b7420; ADD $64, R0; \
	WORD $0xd50b7420; ADD $64, R0; WORD $0xd50b7420; ADD $64, R0; \
	WORD $0xd50b7420; ADD $64, R0; WORD $0xd50b7420; ADD $64, R0; \
	WORD $0xd50b7420; ADD $64, R0; WORD $0xd50b7420; ADD $64, R0

// func clearPage(p unsafe.Pointer)
//
// 0xd50b7420 is DC ZVA, X0 (Arm ARM C5.3.6), of 64 bytes.
TEXT ·clearPage(SB),NOSPLIT,$0-8
	MOVD	p+0(FP), R0
	ADD	$4096, R0, R1
loop:
	ZVA16
	CMP	R1, R0
	BLO	loop
	RET

#define COPY128 \
	FLDPQ.P	32(R1), (F0, F1); \
	FSTPQ.P	(F0, F1), 32(R0); \
	FLDPQ.P	32(R1), (F0, F1); \
	FSTPQ.P	(F0, F1), 32(R0); \
	FLDPQ.P	32(R1), (F0, F1); \
	FSTPQ.P	(F0, F1), 32(R0); \
	FLDPQ.P	32(R1), (F0, F1); \
	FSTPQ.P	(F0, F1), 32(R0)

// func copyPage(dst, src unsafe.Pointer)
TEXT ·copyPage(SB),NOSPLIT,$32-16
	MOVD	dst+0(FP), R0
	MOVD	src+8(FP), R1
	ADD	$4096, R0, R2
	FSTPQ	(F0, F1), 8(RSP)
loop:
	COPY128
	COPY128
	COPY128
	COPY128
	CMP	R2, R0
	BLO	loop
	FLDPQ	8(RSP), (F0, F1)
	RET

// func dczid() uint64
TEXT ·dczid(SB),NOSPLIT,$0-8
	MRS	DCZID_EL0, R0
	MOVD	R0, ret+0(FP)
	RET
