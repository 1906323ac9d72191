/**
 * The one-byte map without the x87 escapes: Intel SDM Vol. 2D, Appendix A, tables. How a line reads: `../table.ts`.
 */
export const oneByteRows = `
00 ADD Eb,Gb lock
01 ADD Ev,Gv lock
02 ADD Gb,Eb
03 ADD Gv,Ev
04 ADD AL,Ib
05 ADD rAX,Iz
06 PUSH ES i64
07 POP ES i64 sys
08 OR Eb,Gb lock
09 OR Ev,Gv lock
0A OR Gb,Eb
0B OR Gv,Ev
0C OR AL,Ib
0D OR rAX,Iz
0E PUSH CS i64
10 ADC Eb,Gb lock
11 ADC Ev,Gv lock
12 ADC Gb,Eb
13 ADC Gv,Ev
14 ADC AL,Ib
15 ADC rAX,Iz
16 PUSH SS i64
17 POP SS i64 sys
18 SBB Eb,Gb lock
19 SBB Ev,Gv lock
1A SBB Gb,Eb
1B SBB Gv,Ev
1C SBB AL,Ib
1D SBB rAX,Iz
1E PUSH DS i64
1F POP DS i64 sys
20 AND Eb,Gb lock
21 AND Ev,Gv lock
22 AND Gb,Eb
23 AND Gv,Ev
24 AND AL,Ib
25 AND rAX,Iz
27 DAA - i64
28 SUB Eb,Gb lock
29 SUB Ev,Gv lock
2A SUB Gb,Eb
2B SUB Gv,Ev
2C SUB AL,Ib
2D SUB rAX,Iz
2F DAS - i64
30 XOR Eb,Gb lock
31 XOR Ev,Gv lock
32 XOR Gb,Eb
33 XOR Gv,Ev
34 XOR AL,Ib
35 XOR rAX,Iz
37 AAA - i64
38 CMP Eb,Gb
39 CMP Ev,Gv
3A CMP Gb,Eb
3B CMP Gv,Ev
3C CMP AL,Ib
3D CMP rAX,Iz
3F AAS - i64
40+ INC Zv i64
48+ DEC Zv i64
50+ PUSH Zv d64
58+ POP Zv d64
60 PUSHA - i64
61 POPA - i64
62m BOUND Gv,Ma i64
63 ARPL Ew,Gw i64
63 MOVSXD Gv,Ez o64
68 PUSH Iz d64
69 IMUL Gv,Ev,Iz
6A PUSH sIb d64
6B IMUL Gv,Ev,sIb
6C INS Yb,DX
6D INS Yz,DX
6E OUTS DX,Xb
6F OUTS DX,Xz
70+cc JCC Jb f64 jcc
80/0 ADD Eb,Ib lock
80/1 OR Eb,Ib lock
80/2 ADC Eb,Ib lock
80/3 SBB Eb,Ib lock
80/4 AND Eb,Ib lock
80/5 SUB Eb,Ib lock
80/6 XOR Eb,Ib lock
80/7 CMP Eb,Ib
81/0 ADD Ev,Iz lock
81/1 OR Ev,Iz lock
81/2 ADC Ev,Iz lock
81/3 SBB Ev,Iz lock
81/4 AND Ev,Iz lock
81/5 SUB Ev,Iz lock
81/6 XOR Ev,Iz lock
81/7 CMP Ev,Iz
82/0 ADD Eb,Ib lock i64
82/1 OR Eb,Ib lock i64
82/2 ADC Eb,Ib lock i64
82/3 SBB Eb,Ib lock i64
82/4 AND Eb,Ib lock i64
82/5 SUB Eb,Ib lock i64
82/6 XOR Eb,Ib lock i64
82/7 CMP Eb,Ib i64
83/0 ADD Ev,sIb lock
83/1 OR Ev,sIb lock
83/2 ADC Ev,sIb lock
83/3 SBB Ev,sIb lock
83/4 AND Ev,sIb lock
83/5 SUB Ev,sIb lock
83/6 XOR Ev,sIb lock
83/7 CMP Ev,sIb
84 TEST Eb,Gb
85 TEST Ev,Gv
86 XCHG Eb,Gb lock
87 XCHG Ev,Gv lock
88 MOV Eb,Gb
89 MOV Ev,Gv
8A MOV Gb,Eb
8B MOV Gv,Ev
8C MOV Rv/Mw,Sw
8D LEA Gv,M
8E/0 MOV Sw,Ew sys
8E/2 MOV Sw,Ew sys
8E/3 MOV Sw,Ew sys
8E/4 MOV Sw,Ew sys
8E/5 MOV Sw,Ew sys
8F/0 POP Ev d64
90.B0 NOP -
90.B1 XCHG Zv,rAX
F3.90.B0 PAUSE -
F3.90.B1 XCHG Zv,rAX
91 XCHG Zv,rAX
92 XCHG Zv,rAX
93 XCHG Zv,rAX
94 XCHG Zv,rAX
95 XCHG Zv,rAX
96 XCHG Zv,rAX
97 XCHG Zv,rAX
98 CBW -
99 CWD -
9A CALLF Ap i64 far
9B FWAIT - =fpu
9C PUSHF - d64
9D POPF - d64 sys
9E SAHF -
9F LAHF -
A0 MOV AL,Ob
A1 MOV rAX,Ov
A2 MOV Ob,AL
A3 MOV Ov,rAX
A4 MOVS Yb,Xb
A5 MOVS Yv,Xv
A6 CMPS Xb,Yb
A7 CMPS Xv,Yv
A8 TEST AL,Ib
A9 TEST rAX,Iz
AA STOS Yb,AL
AB STOS Yv,rAX
AC LODS AL,Xb
AD LODS rAX,Xv
AE SCAS AL,Yb
AF SCAS rAX,Yv
B0+ MOV Zb,Ib
B8+ MOV Zv,Iv
C0/0 ROL Eb,Ib
C0/1 ROR Eb,Ib
C0/2 RCL Eb,Ib
C0/3 RCR Eb,Ib
C0/4 SHL Eb,Ib
C0/5 SHR Eb,Ib
C0/6 SHL Eb,Ib
C0/7 SAR Eb,Ib
C1/0 ROL Ev,Ib
C1/1 ROR Ev,Ib
C1/2 RCL Ev,Ib
C1/3 RCR Ev,Ib
C1/4 SHL Ev,Ib
C1/5 SHR Ev,Ib
C1/6 SHL Ev,Ib
C1/7 SAR Ev,Ib
C2 RET Iw f64 ret
C3 RET - f64 ret
C4m LES Gv,Mp i64 sys
C5m LDS Gv,Mp i64 sys
C6/0 MOV Eb,Ib
C7/0 MOV Ev,Iz
C8 ENTER Iw,Ib d64
C9 LEAVE - d64
CA RETF Iw far
CB RETF - far
CC INT3 - int
CD INT Ib int
CE INTO - i64 int
CF IRET - far
D0/0 ROL Eb,1
D0/1 ROR Eb,1
D0/2 RCL Eb,1
D0/3 RCR Eb,1
D0/4 SHL Eb,1
D0/5 SHR Eb,1
D0/6 SHL Eb,1
D0/7 SAR Eb,1
D1/0 ROL Ev,1
D1/1 ROR Ev,1
D1/2 RCL Ev,1
D1/3 RCR Ev,1
D1/4 SHL Ev,1
D1/5 SHR Ev,1
D1/6 SHL Ev,1
D1/7 SAR Ev,1
D2/0 ROL Eb,CL
D2/1 ROR Eb,CL
D2/2 RCL Eb,CL
D2/3 RCR Eb,CL
D2/4 SHL Eb,CL
D2/5 SHR Eb,CL
D2/6 SHL Eb,CL
D2/7 SAR Eb,CL
D3/0 ROL Ev,CL
D3/1 ROR Ev,CL
D3/2 RCL Ev,CL
D3/3 RCR Ev,CL
D3/4 SHL Ev,CL
D3/5 SHR Ev,CL
D3/6 SHL Ev,CL
D3/7 SAR Ev,CL
D4 AAM Ib i64
D5 AAD Ib i64
D6 SALC - i64
D7 XLAT BBb
E0 LOOPNE Jb f64 jcc
E1 LOOPE Jb f64 jcc
E2 LOOP Jb f64 jcc
E3 JCXZ Jb f64 jcc
E4 IN AL,Ib
E5 IN eAX,Ib
E6 OUT Ib,AL
E7 OUT Ib,eAX
E8 CALL Jz f64 call
E9 JMP Jz f64 jmp
EA JMPF Ap i64 far
EB JMP Jb f64 jmp
EC IN AL,DX
ED IN eAX,DX
EE OUT DX,AL
EF OUT DX,eAX
F1 INT1 - int
F4 HLT - cpl0 sys
F5 CMC -
F6/0 TEST Eb,Ib
F6/1 TEST Eb,Ib
F6/2 NOT Eb lock
F6/3 NEG Eb lock
F6/4 MUL Eb
F6/5 IMUL Eb
F6/6 DIV Eb
F6/7 IDIV Eb
F7/0 TEST Ev,Iz
F7/1 TEST Ev,Iz
F7/2 NOT Ev lock
F7/3 NEG Ev lock
F7/4 MUL Ev
F7/5 IMUL Ev
F7/6 DIV Ev
F7/7 IDIV Ev
F8 CLC -
F9 STC -
FA CLI -
FB STI - sys
FC CLD -
FD STD -
FE/0 INC Eb lock
FE/1 DEC Eb lock
FF/0 INC Ev lock
FF/1 DEC Ev lock
FF/2 CALL Ev f64 call
FF/3 CALLF Mp far
FF/4 JMP Ev f64 jmp
FF/5 JMPF Mp far
FF/6 PUSH Ev d64
`;
