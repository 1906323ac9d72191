/** All of the x87: registering the meanings and the core functions they call. */
import "../core/f80.ts";
import "./x87-arith.ts";
import "./x87-control.ts";
import "./x87-data.ts";
import "./x87-image.ts";
