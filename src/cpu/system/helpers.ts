import { clockHelpers } from "./clock.ts";
import { controlRegisterHelpers } from "./control-registers.ts";
import { cpuidHelpers } from "./cpuid.ts";
import { debugHelpers } from "./debug.ts";
import { descriptorTableHelpers } from "./descriptor-tables.ts";
import { farReturnHelpers } from "./far-return.ts";
import { farTransferHelpers } from "./far-transfer.ts";
import { fastCallHelpers } from "./fast-calls.ts";
import type { Helper } from "./fault.ts";
import { flagHelpers } from "./flag-instructions.ts";
import { floatErrorHelpers } from "./float-error.ts";
import { fpuImageHelpers } from "./fpu-image.ts";
import { msrHelpers } from "./msr.ts";
import { pauseHelpers } from "./pause.ts";
import { portHelpers } from "./ports.ts";
import { privilegedHelpers } from "./privileged.ts";
import { segmentHelpers } from "./segments.ts";
import { softwareInterruptHelpers } from "./software-interrupts.ts";

/**
 * Everything that generated code calls by name (beside the memory paths). Two kinds, told at each: a *system* helper ends the
 * block, finds rip at its instruction and the instruction's length in `a`, moves rip, and returns an EXIT code; a *query*
 * touches no register, leaves results in arg0…arg3, and returns 0, or EXIT.fault with rip where it was.
 */
export const SYSTEM_HELPERS: Readonly<Record<string, Helper>> = {
	...clockHelpers,
	...controlRegisterHelpers,
	...cpuidHelpers,
	...debugHelpers,
	...descriptorTableHelpers,
	...farReturnHelpers,
	...farTransferHelpers,
	...fastCallHelpers,
	...flagHelpers,
	...floatErrorHelpers,
	...fpuImageHelpers,
	...msrHelpers,
	...pauseHelpers,
	...portHelpers,
	...privilegedHelpers,
	...segmentHelpers,
	...softwareInterruptHelpers,
};
