/* The signal frame as a processor state: read it out into a result, and write the next case into it, so that one
 * sigreturn both ends a case and starts the next. Layouts: Linux UAPI <asm/sigcontext.h>. */
#pragma once
#include "format.h"
#include "sys.h"
#include <asm/sigcontext.h>
#include <asm/signal.h>
#include <asm/ucontext.h>

/* x86 keeps the extended state's own header 512 bytes into the frame's FP area; its first word says which parts are live. */
enum { XSTATE_BV_OFFSET = 512, XSTATE_BV_X87_SSE = 3 };

#ifdef __x86_64__
#define FRAME_FX(context) ((struct fxsave *)(context)->fpstate)
#define FRAME_MAGIC(fx) (((struct _fpx_sw_bytes *)((uint8_t *)(fx) + 464))->magic1)

static inline void read_segments(uint16_t *segments, const struct sigcontext *context) {
	__asm__ volatile("mov %%es, %0\n\tmov %%ds, %1\n\tmov %%fs, %2\n\tmov %%gs, %3"
	                 : "=r"(segments[0]), "=r"(segments[3]), "=r"(segments[4]), "=r"(segments[5]));
	segments[1] = context->cs;
	segments[2] = context->ss;
}

static inline void reset_segments(void) {
	__asm__ volatile("mov %0, %%ds\n\tmov %0, %%es\n\tmov %1, %%fs\n\tmov %1, %%gs" : : "r"(0x2b), "r"(0));
	SYS(__NR_arch_prctl, 0x1002 /* ARCH_SET_FS */, FS_BASE, 0);
	SYS(__NR_arch_prctl, 0x1001 /* ARCH_SET_GS */, GS_BASE, 0);
}

static inline void read_frame(struct result_record *out, const struct sigcontext *context) {
	const uint64_t gpr[16] = {context->rax, context->rcx, context->rdx, context->rbx, context->rsp, context->rbp,
	                          context->rsi, context->rdi, context->r8,  context->r9,  context->r10, context->r11,
	                          context->r12, context->r13, context->r14, context->r15};
	for (int index = 0; index < 16; index++) out->gpr[index] = gpr[index];
	out->rip = context->rip;
	out->rflags = context->eflags;
	out->vector = context->trapno;
	out->error_code = context->err;
	out->cr2 = context->cr2;
	read_segments(out->segments, context);
	memcpy(&out->fx, FRAME_FX(context), sizeof(struct fxsave));
}

static inline void write_frame(struct sigcontext *context, const struct case_record *in) {
	context->rax = in->gpr[0], context->rcx = in->gpr[1], context->rdx = in->gpr[2], context->rbx = in->gpr[3];
	context->rsp = in->gpr[4], context->rbp = in->gpr[5], context->rsi = in->gpr[6], context->rdi = in->gpr[7];
	context->r8 = in->gpr[8], context->r9 = in->gpr[9], context->r10 = in->gpr[10], context->r11 = in->gpr[11];
	context->r12 = in->gpr[12], context->r13 = in->gpr[13], context->r14 = in->gpr[14], context->r15 = in->gpr[15];
	context->rip = in->rip;
	context->eflags = in->rflags;
	context->cs = 0x33;
	context->ss = 0x2b;
	struct fxsave *fx = FRAME_FX(context);
	memcpy(fx, &in->fx, 416);
	if (FRAME_MAGIC(fx) == FP_XSTATE_MAGIC1) *(uint64_t *)((uint8_t *)fx + XSTATE_BV_OFFSET) |= XSTATE_BV_X87_SSE;
}

#else

/* The legacy area (FNSAVE's shape, with a status word behind it) comes first, FXSAVE's image after it; Linux takes the
 * x87 registers and environment from the former, MXCSR and XMM from the latter. */
enum { LEGACY_BYTES = 112 };
#define FRAME_FX(context) ((struct fxsave *)((uint8_t *)(context)->fpstate + LEGACY_BYTES))
#define FRAME_MAGIC(fx) (((struct _fpx_sw_bytes *)((uint8_t *)(fx) + 464))->magic1)

static inline void reset_segments(void) {}

static inline void read_frame(struct result_record *out, const struct sigcontext *context) {
	const uint32_t gpr[8] = {context->eax, context->ecx, context->edx, context->ebx, context->esp, context->ebp, context->esi, context->edi};
	for (int index = 0; index < 8; index++) out->gpr[index] = gpr[index];
	for (int index = 8; index < 16; index++) out->gpr[index] = 0;
	out->rip = context->eip;
	out->rflags = context->eflags;
	out->vector = context->trapno;
	out->error_code = context->err;
	out->cr2 = context->cr2;
	out->segments[0] = context->es;
	out->segments[1] = context->cs;
	out->segments[2] = context->ss;
	out->segments[3] = context->ds;
	out->segments[4] = context->fs;
	out->segments[5] = context->gs;
	memcpy(&out->fx, FRAME_FX(context), sizeof(struct fxsave));
}

static inline void write_frame(struct sigcontext *context, const struct case_record *in) {
	const int is16 = in->mode == 16;
	context->eax = in->gpr[0], context->ecx = in->gpr[1], context->edx = in->gpr[2], context->ebx = in->gpr[3];
	context->esp = in->gpr[4], context->ebp = in->gpr[5], context->esi = in->gpr[6], context->edi = in->gpr[7];
	context->eip = in->rip;
	context->eflags = in->rflags;
	context->cs = is16 ? 0x07 : 0x23;
	context->ds = is16 ? 0x0f : 0x2b;
	context->es = is16 ? 0x0f : 0x2b;
	context->ss = is16 ? 0x17 : 0x2b;
	context->fs = is16 ? 0x27 : 0x1f;
	context->gs = is16 ? 0x2f : 0;
	struct fxsave *fx = FRAME_FX(context);
	memcpy(fx, &in->fx, 416);
	uint32_t *legacy = (uint32_t *)context->fpstate;
	uint32_t tags = 0;
	for (int index = 0; index < 8; index++) tags |= (in->fx.ftw >> index & 1 ? 0u : 3u) << index * 2;
	legacy[0] = 0xffff0000u | in->fx.fcw;
	legacy[1] = 0xffff0000u | in->fx.fsw;
	legacy[2] = 0xffff0000u | tags;
	legacy[3] = legacy[4] = legacy[5] = legacy[6] = 0;
	for (int index = 0; index < 8; index++) memcpy((uint8_t *)(legacy + 7) + index * 10, in->fx.st[index], 10);
	if (FRAME_MAGIC(fx) == FP_XSTATE_MAGIC1) *(uint64_t *)((uint8_t *)fx + XSTATE_BV_OFFSET) |= XSTATE_BV_X87_SSE;
}
#endif
