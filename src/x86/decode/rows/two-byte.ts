/**
 * The 0F map's integer and system half: Intel SDM Vol. 2D, Appendix A, tables. How a line reads: `../table.ts`.
 * Hint NOPs (0F 18..1F) stay NOPs whatever later extension took them: ENDBR, CLDEMOTE and MPX are not offered.
 */
export const twoByteRows = `
00/0 SLDT Rv/Mw
00/1 STR Rv/Mw
00/2 LLDT Ew cpl0 sys
00/3 LTR Ew cpl0 sys
00/4 VERR Ew
00/5 VERW Ew
01/0m SGDT Ms
01/1m SIDT Ms
01/2m LGDT Ms cpl0 sys
01/3m LIDT Ms cpl0 sys
01/4 SMSW Rv/Mw
01/6 LMSW Ew cpl0 sys
01/7m INVLPG M cpl0 sys
NP.01/0r1 VMCALL - =vmx sys
NP.01/0r2 VMLAUNCH - =vmx sys
NP.01/0r3 VMRESUME - =vmx sys
NP.01/0r4 VMXOFF - =vmx sys
NP.01/1r0 MONITOR BA =monitor sys
NP.01/1r1 MWAIT - =monitor sys
NP.01/1r2 CLAC - =smap sys
NP.01/1r3 STAC - =smap sys
NP.01/2r0 XGETBV - =xsave
NP.01/2r1 XSETBV - =xsave cpl0 sys
NP.01/2r4 VMFUNC - =vmx sys
01/3r0 VMRUN - =svm sys
01/3r1 VMMCALL - =svm sys
01/3r2 VMLOAD - =svm sys
01/3r3 VMSAVE - =svm sys
01/3r4 STGI - =svm sys
01/3r5 CLGI - =svm sys
01/3r6 SKINIT - =svm sys
01/3r7 INVLPGA - =svm sys
01/7r0 SWAPGS - =longmode o64 cpl0
01/7r1 RDTSCP - =rdtscp
02 LAR Gv,Ew
03 LSL Gv,Ew
05 SYSCALL - =syscall far
06 CLTS - cpl0 sys
07 SYSRET - =syscall cpl0 far
08 INVD - cpl0 sys
09 WBINVD - cpl0 sys
0B UD2 - int
0D/1m PREFETCHW M =prefetchw
0D/1r NOP Rv/M,Gv =prefetchw
0D/0 NOP Rv/M,Gv =prefetchw
0D/2 NOP Rv/M,Gv =prefetchw
0D/3 NOP Rv/M,Gv =prefetchw
0D/4 NOP Rv/M,Gv =prefetchw
0D/5 NOP Rv/M,Gv =prefetchw
0D/6 NOP Rv/M,Gv =prefetchw
0D/7 NOP Rv/M,Gv =prefetchw
18/0m PREFETCHNTA M =sse
18/1m PREFETCHT0 M =sse
18/2m PREFETCHT1 M =sse
18/3m PREFETCHT2 M =sse
18/0r NOP Rv/M,Gv
18/1r NOP Rv/M,Gv
18/2r NOP Rv/M,Gv
18/3r NOP Rv/M,Gv
18/4 NOP Rv/M,Gv
18/5 NOP Rv/M,Gv
18/6 NOP Rv/M,Gv
18/7 NOP Rv/M,Gv
19 NOP Rv/M,Gv
1A NOP Rv/M,Gv
1B NOP Rv/M,Gv
1C NOP Rv/M,Gv
1D NOP Rv/M,Gv
1E NOP Rv/M,Gv
1F NOP Rv/M,Gv
20 MOV Rn,Cn cpl0
21 MOV Rn,Dn cpl0
22 MOV Cn,Rn cpl0 sys
23 MOV Dn,Rn cpl0 sys
30 WRMSR - cpl0 sys
31 RDTSC -
32 RDMSR - cpl0
33 RDPMC -
34 SYSENTER - =sep far
35 SYSEXIT - =sep cpl0 far
NP.37 GETSEC - =smx sys
40+cc CMOVCC Gv,Ev =cmov
NP.78 VMREAD En,Gn =vmx sys
NP.79 VMWRITE Gn,En =vmx sys
80+cc JCC Jz f64 jcc
90+cc SETCC Eb
A0 PUSH FS d64
A1 POP FS d64
A2 CPUID - sys
A3 BT Ev,Gv
A4 SHLD Ev,Gv,Ib
A5 SHLD Ev,Gv,CL
A8 PUSH GS d64
A9 POP GS d64
AA RSM - far
AB BTS Ev,Gv lock
AC SHRD Ev,Gv,Ib
AD SHRD Ev,Gv,CL
NP.AE/0m FXSAVE M512 =fxsr
NP.AE/1m FXRSTOR M512 =fxsr
NP.AE/2m LDMXCSR Md =sse
NP.AE/3m STMXCSR Md =sse
NP.AE/4m XSAVE M =xsave
NP.AE/5m XRSTOR M =xsave
NP.AE/6m XSAVEOPT M =xsaveopt
NP.AE/7m CLFLUSH M =clflush
66.AE/6m CLWB M =clwb
66.AE/7m CLFLUSHOPT M =clflushopt
F3.AE/0r RDFSBASE Ry =fsgsbase o64
F3.AE/1r RDGSBASE Ry =fsgsbase o64
F3.AE/2r WRFSBASE Ry =fsgsbase o64
F3.AE/3r WRGSBASE Ry =fsgsbase o64
NP.AE/5r LFENCE - =sse2
NP.AE/6r MFENCE - =sse2
NP.AE/7r SFENCE - =sse
AF IMUL Gv,Ev
B0 CMPXCHG Eb,Gb lock
B1 CMPXCHG Ev,Gv lock
B2 LSS Gv,Mp sys
B3 BTR Ev,Gv lock
B4 LFS Gv,Mp sys
B5 LGS Gv,Mp sys
B6 MOVZX Gv,Eb
B7 MOVZX Gv,Ew
F3.B8 POPCNT Gv,Ev =popcnt
B9 UD1 Gv,Ev int
BA/4 BT Ev,Ib
BA/5 BTS Ev,Ib lock
BA/6 BTR Ev,Ib lock
BA/7 BTC Ev,Ib lock
BB BTC Ev,Gv lock
BC BSF Gv,Ev
F3.BC TZCNT Gv,Ev =bmi1
BD BSR Gv,Ev
F3.BD LZCNT Gv,Ev =lzcnt
BE MOVSX Gv,Eb
BF MOVSX Gv,Ew
C0 XADD Eb,Gb lock
C1 XADD Ev,Gv lock
NP.C3 MOVNTI My,Gy =sse2
C7/1m.W0 CMPXCHG8B Mq =cx8 lock
C7/1m.W1 CMPXCHG16B Mdq =cx16 lock
NP.C7/3m XRSTORS M =xsaves cpl0
NP.C7/4m XSAVEC M =xsavec
NP.C7/5m XSAVES M =xsaves cpl0
NP.C7/6m VMPTRLD Mq =vmx sys
66.C7/6m VMCLEAR Mq =vmx sys
F3.C7/6m VMXON Mq =vmx sys
NP.C7/7m VMPTRST Mq =vmx sys
NP.C7/6r RDRAND Rv =rdrand
66.C7/6r RDRAND Rv =rdrand
NP.C7/7r RDSEED Rv =rdseed
66.C7/7r RDSEED Rv =rdseed
F3.C7/7r RDPID Rn =rdpid
C8+ BSWAP Zv
FF UD0 Gv,Ev int
`;
