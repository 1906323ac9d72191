/**
 * The 0F 3A map: Intel SDM Vol. 2D, Appendix A, table A-5. How a line reads: `../table.ts`.
 */
export const threeByte3ARows = `
[ssse3]
66.0F PALIGNR Vdq,Wdq,Ib
NP.0F PALIGNR Pq,Qq,Ib
[sse41]
66.08 ROUNDPS Vps,Wps,Ib
66.09 ROUNDPD Vpd,Wpd,Ib
66.0A ROUNDSS Vss,Wss,Ib
66.0B ROUNDSD Vsd,Wsd,Ib
66.0C BLENDPS Vps,Wps,Ib
66.0D BLENDPD Vpd,Wpd,Ib
66.0E PBLENDW Vdq,Wdq,Ib
66.14 PEXTRB Ry/Mb,Vdq,Ib
66.15 PEXTRW Ry/Mw,Vdq,Ib
66.16 PEXTRD Ey,Vdq,Ib
66.17 EXTRACTPS Ry/Md,Vdq,Ib
66.20 PINSRB Vdq,Rd/Mb,Ib
66.21 INSERTPS Vdq,Udq/Md,Ib
66.22 PINSRD Vdq,Ey,Ib
66.40 DPPS Vps,Wps,Ib
66.41 DPPD Vpd,Wpd,Ib
66.42 MPSADBW Vdq,Wdq,Ib
[sse42]
66.60 PCMPESTRM Vdq,Wdq,Ib unaligned
66.61 PCMPESTRI Vdq,Wdq,Ib unaligned
66.62 PCMPISTRM Vdq,Wdq,Ib unaligned
66.63 PCMPISTRI Vdq,Wdq,Ib unaligned
[pclmulqdq]
66.44 PCLMULQDQ Vdq,Wdq,Ib
[aes]
66.DF AESKEYGENASSIST Vdq,Wdq,Ib
`;
