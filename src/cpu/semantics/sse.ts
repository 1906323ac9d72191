/** Every MMX and SSE meaning. */
import "./sse-arith.ts";
import "./sse-compare.ts";
import "./sse-convert.ts";
import "./sse-crypto.ts";
import "./sse-integer.ts";
import "./sse-move.ts";
import "./sse-shuffle.ts";
import "./sse-strings.ts";
