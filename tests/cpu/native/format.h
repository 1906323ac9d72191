/* The binary format between the tester (tests/cpu/format.ts, which is the same in TypeScript) and the native runner.
 * Little-endian; every record is a multiple of 8 bytes. */
#pragma once
#include <stdint.h>

enum {
	FORMAT_MAGIC = 0x31545842, /* "BXT1" */

	CODE_ADDRESS = 0x10000000, /* an unmapped page stands before and after each area */
	CODE_BYTES = 0x2000,
	DATA_ADDRESS = 0x20000000,
	DATA_BYTES = 0x2000,
	STACK_ADDRESS = 0x30000000,
	STACK_BYTES = 0x1000,
	AREA_COUNT = 3,
	MEMORY_BYTES = CODE_BYTES + DATA_BYTES + STACK_BYTES,

	FS_BASE = DATA_ADDRESS + 0x100, /* 64-bit mode; other modes have selectors */
	GS_BASE = DATA_ADDRESS + 0x1000,

	CODE_FILL = 0xcc, /* INT3: wherever a case runs off its code it ends, and says where */
};

enum status { STATUS_NOT_RUN = 0, STATUS_FAULT = 1, STATUS_TIMEOUT = 2 };

struct fxsave {
	uint16_t fcw, fsw;
	uint8_t ftw, reserved1;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16];
	uint8_t xmm[16][16];
	uint8_t reserved2[96];
};

struct batch_header {
	uint32_t magic, case_count;
	uint8_t memory[MEMORY_BYTES]; /* what the areas hold before a case, in the order of their addresses */
};

struct case_record {
	uint32_t size_bytes;
	uint16_t mode, flags;
	uint32_t code_address;
	uint16_t code_bytes, patch_count;
	uint64_t gpr[16]; /* rax rcx rdx rbx rsp rbp rsi rdi r8–r15 */
	uint64_t rip, rflags;
	struct fxsave fx;
	/* code, padded to 8; then the patches, each { address, length, bytes padded to 8 } */
};

struct patch {
	uint32_t address, length;
	uint8_t bytes[];
};

struct result_record {
	uint32_t size_bytes;
	uint16_t status, vector;
	uint32_t error_code, diff_count;
	uint64_t cr2;
	uint64_t gpr[16];
	uint64_t rip, rflags;
	uint16_t segments[8]; /* es cs ss ds fs gs, and two unused */
	uint64_t reserved;
	struct fxsave fx;
	/* what memory has become: { address, length, bytes padded to 8 }, in whole 8-byte words */
};

_Static_assert(sizeof(struct fxsave) == 512, "fxsave");
_Static_assert(sizeof(struct case_record) == 672, "case");
_Static_assert(sizeof(struct result_record) == 704, "result");
