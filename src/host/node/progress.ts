/** What long work tells whoever waits for it. `fraction` runs from 0 to 1. */
export interface Progress {
	step(label: string): void;
	update(fraction: number): void;
	warn(text: string): void;
	done(): void;
}

interface ProgressSink {
	readonly isTTY?: boolean;
	readonly columns?: number;
	write(text: string): unknown;
}

export const silentProgress: Progress = { step() {}, update() {}, warn() {}, done() {} };

/** A bar that redraws itself on a terminal; whole lines, at most one per tenth of the work, anywhere else. */
export function progressOn(sink: ProgressSink): Progress {
	return sink.isTTY === true ? new BarProgress(sink) : new LineProgress(sink);
}

class BarProgress implements Progress {
	readonly #sink: ProgressSink;
	#label = "";
	#percent = -1;

	constructor(sink: ProgressSink) {
		this.#sink = sink;
	}

	step(label: string): void {
		this.#finishLine();
		this.#label = label;
		this.#draw(0);
	}

	update(fraction: number): void {
		const percent = toPercent(fraction);
		if (percent !== this.#percent) this.#draw(percent);
	}

	warn(text: string): void {
		this.#sink.write(`\r\x1b[K${text}\n`);
		if (this.#label !== "") this.#draw(this.#percent);
	}

	done(): void {
		this.#finishLine();
		this.#label = "";
	}

	#finishLine(): void {
		if (this.#label === "") return;
		this.#draw(100);
		this.#sink.write("\n");
	}

	#draw(percent: number): void {
		this.#percent = percent;
		const barColumns = 24;
		const filled = Math.round((percent / 100) * barColumns);
		const room = Math.max(10, (this.#sink.columns ?? 80) - barColumns - 10);
		const label = this.#label.length > room ? `${this.#label.slice(0, room - 1)}…` : this.#label.padEnd(Math.min(room, 44));
		this.#sink.write(`\r\x1b[K${label} [${"#".repeat(filled)}${".".repeat(barColumns - filled)}] ${String(percent).padStart(3)}%`);
	}
}

class LineProgress implements Progress {
	readonly #sink: ProgressSink;
	#label = "";
	#tenths = 0;

	constructor(sink: ProgressSink) {
		this.#sink = sink;
	}

	step(label: string): void {
		this.#label = label;
		this.#tenths = 0;
		this.#sink.write(`${label}\n`);
	}

	update(fraction: number): void {
		const tenths = Math.floor(toPercent(fraction) / 10);
		if (tenths <= this.#tenths) return;
		this.#tenths = tenths;
		this.#sink.write(`${this.#label}: ${tenths * 10}%\n`);
	}

	warn(text: string): void {
		this.#sink.write(`${text}\n`);
	}

	done(): void {}
}

function toPercent(fraction: number): number {
	return Math.max(0, Math.min(100, Math.floor(fraction * 100)));
}
