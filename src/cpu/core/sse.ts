/** Core functions behind the MMX and SSE meanings. */
import "./sse-arith.ts";
import "./sse-compare.ts";
import "./sse-convert.ts";
import "./sse-vector.ts";
