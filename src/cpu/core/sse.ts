/** Core functions behind the MMX and SSE meanings. */
import "./aes.ts";
import "./clmul.ts";
import "./pcmpstr.ts";
import "./sse-arith.ts";
import "./sse-compare.ts";
import "./sse-convert.ts";
import "./sse-vector.ts";
