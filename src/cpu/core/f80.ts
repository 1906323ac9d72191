/** The 80-bit extended arithmetic of the x87, as functions of the core module. */
import "./f80-add.ts";
import "./f80-arith.ts";
import "./f80-compare.ts";
import "./f80-image.ts";
import "./f80-integer.ts";
import "./f80-load.ts";
import "./f80-mul.ts";
import "./f80-remainder.ts";
import "./f80-round.ts";
import "./f80-scale.ts";
import "./f80-special.ts";
import "./f80-sqrt.ts";
import "./f80-stack.ts";
import "./f80-store.ts";
import "./f80-trig.ts";
