#include "textflag.h"

// The instructions are 256-bit AVX (SDM volume 1, 14.1). There is no VZEROUPPER, as it
// would clear what user code may have in the upper halves.

#define STORE4(n) \
	VMOVDQU Y0, (n+0)(DI); \
	VMOVDQU Y0, (n+32)(DI); \
	VMOVDQU Y0, (n+64)(DI); \
	VMOVDQU Y0, (n+96)(DI)

#define COPY4(n) \
	VMOVDQU (n+0)(SI), Y0; \
	VMOVDQU (n+32)(SI), Y1; \
	VMOVDQU Y0, (n+0)(DI); \
	VMOVDQU Y1, (n+32)(DI); \
	VMOVDQU (n+64)(SI), Y0; \
	VMOVDQU (n+96)(SI), Y1; \
	VMOVDQU Y0, (n+64)(DI); \
	VMOVDQU Y1, (n+96)(DI)

// func clearPage(p unsafe.Pointer)
TEXT ·clearPage(SB),NOSPLIT,$32-8
	MOVQ p+0(FP), DI
	VMOVDQU Y0, 0(SP)
	VXORPS Y0, Y0, Y0
	MOVL $4, CX
loop:
	STORE4(0)
	STORE4(128)
	STORE4(256)
	STORE4(384)
	STORE4(512)
	STORE4(640)
	STORE4(768)
	STORE4(896)
	ADDQ $1024, DI
	DECL CX
	JNE loop
	VMOVDQU 0(SP), Y0
	RET

// func copyPage(dst, src unsafe.Pointer)
TEXT ·copyPage(SB),NOSPLIT,$64-16
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	VMOVDQU Y0, 0(SP)
	VMOVDQU Y1, 32(SP)
	MOVL $8, CX
loop:
	COPY4(0)
	COPY4(128)
	COPY4(256)
	COPY4(384)
	ADDQ $512, DI
	ADDQ $512, SI
	DECL CX
	JNE loop
	VMOVDQU 0(SP), Y0
	VMOVDQU 32(SP), Y1
	RET
