import type { IoHandler } from "../../machine/bus.ts";
import type { Clock, Timer } from "../../machine/clock.ts";
import { unimplemented } from "../../machine/device.ts";
import { type PciDevice, PciFunction, type PciFunctionState } from "../../machine/pci.ts";
import type { Mac } from "../../net/frames/address.ts";
import { readU16 } from "../../net/frames/address.ts";
import { sumWords } from "../../net/frames/checksum.ts";
import { frameCheckSequence } from "../../net/frames/crc32.ts";
import { MIN_FRAME_BYTES } from "../../net/frames/ethernet.ts";
import { isTransportChecksumGood } from "../../net/offload/checksums.ts";
import { locateIp } from "../../net/offload/locate.ts";
import type { Port } from "../../net/port.ts";
import { Eeprom, type EepromState } from "./eeprom.ts";
import { Phy, type PhySpeed } from "./phy.ts";
import { isWanted } from "./receive-filter.ts";
import * as reg from "./registers.ts";
import { type TransmitState, Transmitter } from "./transmit.ts";

const IDS = { vendorId: 0x8086, deviceId: 0x100f, subsystemVendorId: 0x8086, subsystemId: 0x1001 } as const;
const MEMORY_BYTES = 0x20000;
const IO_BYTES = 64;
const DESCRIPTOR_BYTES = 16;
/** The packet buffer's share for receiving, in whole frames: what waits for descriptors. */
const MAX_BACKLOG_BYTES = 48 * 1024;
/** ITR counts in these (§13.4.18). */
const ITR_UNIT_NS = 256;

// §3.2.3, "Receive Descriptor Format"
const RX_DD = 1 << 0;
const RX_EOP = 1 << 1;
const RX_IXSM = 1 << 2;
const RX_VP = 1 << 3;
const RX_TCPCS = 1 << 5;
const RX_IPCS = 1 << 6;
const RX_TCPE = 1 << 5;
const RX_IPE = 1 << 6;
const TX_DD = 1;
// §13.4.4, "MDI Control Register"
const MDIC_READ = 2;
const MDIC_WRITE = 1;
const MDIC_READY = 1 << 28;
const MDIC_ERROR = 1 << 30;
const PHY_ADDRESS = 1;

export interface E1000Options {
	readonly name: string;
	readonly mac: Mac;
	readonly clock: Clock;
}

export type E1000State = {
	readonly pci: PciFunctionState;
	readonly registers: Uint8Array;
	readonly phy: readonly number[];
	readonly eeprom: EepromState;
	readonly transmit: TransmitState;
	readonly backlog: readonly Uint8Array[];
	readonly isAsserted: boolean;
	readonly quietUntilNs: number;
	readonly isLinkUp: boolean;
	readonly ioAddress: number;
};

/**
 * Intel's 82545EM ("PRO/1000 MT Server Adapter"): legacy and extended descriptors, checksums and TCP segmentation, VLANs,
 * address filters, EEPROM and transceiver, interrupts throttled by ITR. Interrupt delay timers (TIDV, RDTR) count as 0.
 */
export class E1000 implements PciDevice<E1000State> {
	readonly name: string;
	readonly pci: PciFunction;
	readonly stats = { sentFrames: 0, receivedFrames: 0, droppedFrames: 0 };
	readonly #port: Port;
	readonly #mac: Mac;
	readonly #clock: Clock;
	readonly #registers = new Uint32Array(reg.REGISTERS_END / 4);
	readonly #phy = new Phy();
	readonly #eeprom: Eeprom;
	readonly #transmitter: Transmitter;
	readonly #itrTimer: Timer;
	readonly #descriptor = new Uint8Array(DESCRIPTOR_BYTES);
	readonly #descriptorView = new DataView(this.#descriptor.buffer);
	#backlog: Uint8Array[] = [];
	#backlogBytes = 0;
	#isAsserted = false;
	/** ITR: no interrupt before this. */
	#quietUntilNs = 0;
	#ioAddress = 0;

	constructor(port: Port, options: E1000Options) {
		this.name = options.name;
		this.#port = port;
		this.#mac = options.mac;
		this.#clock = options.clock;
		this.#eeprom = new Eeprom(options.mac, IDS);
		this.pci = new PciFunction(options.name, { ...IDS, revisionId: 1, classCode: 0x020000, interruptPin: 1 });
		this.pci.addBar(0, { kind: "mem32", sizeBytes: MEMORY_BYTES, handler: this.#memory });
		this.pci.addBar(1, { kind: "io", sizeBytes: IO_BYTES, handler: this.#io });
		const card = this;
		this.#transmitter = new Transmitter({
			read: (addr, into) => this.pci.dma.read(addr, into),
			get vlanType() {
				return card.#get(reg.VET) & 0xffff;
			},
			get hasVlans() {
				return (card.#get(reg.CTRL) & reg.CTRL_VME) !== 0;
			},
			send: (frame) => this.#send(frame),
		});
		this.#itrTimer = options.clock.timer(`${options.name} itr`, () => this.#drive());
		this.#phy.onRestart = () => this.#linkChanged();
		port.onFrame = (frame) => this.#arrived(frame);
		port.onCarrier = () => this.#linkChanged();
		this.#resetRegisters();
	}

	#get(offset: number): number {
		return this.#registers[offset >> 2]!;
	}

	#set(offset: number, value: number): void {
		this.#registers[offset >> 2] = value;
	}

	readonly #memory: IoHandler = {
		accessBytes: { min: 1, max: 4 },
		read: (offset, bytes) => {
			const value = this.#read(offset & ~3);
			return bytes === 4 ? value : value >>> (8 * (offset & 3));
		},
		// Registers take whole dwords; a part of one lands in its lane, the rest zero.
		write: (offset, bytes, value) => this.#write(offset & ~3, bytes === 4 ? value : (value << (8 * (offset & 3))) >>> 0),
	};

	/** IOADDR at 0, IODATA at 4 (§13.2.2, "I/O-Mapped Internal Register … Access"). */
	readonly #io: IoHandler = {
		accessBytes: { min: 1, max: 4 },
		read: (offset, bytes) => {
			const value = offset < 4 ? this.#ioAddress : offset < 8 ? this.#read(this.#ioAddress) : 0;
			return bytes === 4 ? value : value >>> (8 * (offset & 3));
		},
		write: (offset, bytes, value) => {
			if (bytes !== 4) return;
			if (offset === 0) this.#ioAddress = value & (MEMORY_BYTES - 4);
			else if (offset === 4) this.#write(this.#ioAddress, value);
		},
	};

	#read(offset: number): number {
		switch (offset) {
			case reg.EECD:
				return this.#eeprom.control;
			case reg.ICR: {
				const cause = this.#get(reg.ICR);
				this.#set(reg.ICR, 0);
				this.#drive();
				return (cause | ((cause & this.#get(reg.IMS)) !== 0 ? 0x8000_0000 : 0)) >>> 0;
			}
			case reg.ICS:
			case reg.IMC:
				return 0;
			default:
		}
		if (offset >= reg.REGISTERS_END) return 0;
		const value = this.#get(offset);
		if (offset >= reg.STATISTICS && offset < reg.STATISTICS_END) this.#set(offset, 0);
		return value;
	}

	#write(offset: number, value: number): void {
		switch (offset) {
			case reg.CTRL:
				this.#writeControl(value);
				return;
			case reg.EECD:
				this.#eeprom.control = value;
				return;
			case reg.EERD:
				// §13.4.4: start in bit 0, done in bit 4, the word above.
				if ((value & 1) !== 0) this.#set(reg.EERD, ((this.#eeprom.word((value >> 8) & 0xff) << 16) | (value & 0xff00) | 0x10) >>> 0);
				return;
			case reg.MDIC:
				this.#mdi(value);
				return;
			case reg.ICR:
				this.#set(reg.ICR, this.#get(reg.ICR) & ~value);
				this.#drive();
				return;
			case reg.ICS:
				this.#raise(value & reg.INT_ALL);
				return;
			case reg.IMS:
				this.#set(reg.IMS, this.#get(reg.IMS) | (value & reg.INT_ALL));
				this.#drive();
				return;
			case reg.IMC:
				this.#set(reg.IMS, this.#get(reg.IMS) & ~value);
				this.#drive();
				return;
			case reg.STATUS:
				return;
			default:
		}
		if (offset >= reg.REGISTERS_END || (offset >= reg.STATISTICS && offset < reg.STATISTICS_END)) {
			if (offset >= reg.REGISTERS_END) unimplemented(this.name, "registers beyond 0x6000");
			return;
		}
		this.#set(offset, value);
		if (offset === reg.TDT || offset === reg.TCTL) this.#transmit();
		else if (offset === reg.RDT || offset === reg.RCTL) this.#receive();
	}

	#writeControl(value: number): void {
		if ((value & reg.CTRL_RST) !== 0) {
			this.#resetRegisters();
			this.#drive();
			return;
		}
		if ((value & reg.CTRL_PHY_RST) !== 0) this.#phy.reset();
		this.#set(reg.CTRL, (value & ~reg.CTRL_PHY_RST) >>> 0);
		this.#showLink();
	}

	#mdi(value: number): void {
		const operation = (value >>> 26) & 3;
		const register = (value >>> 16) & 31;
		let result = value & ~(MDIC_ERROR | MDIC_READY);
		if (((value >>> 21) & 31) !== PHY_ADDRESS) result |= MDIC_ERROR;
		else if (operation === MDIC_READ) result = (result & ~0xffff) | this.#phy.read(register);
		else if (operation === MDIC_WRITE) this.#phy.write(register, value & 0xffff);
		this.#set(reg.MDIC, (result | MDIC_READY) >>> 0);
		// Bit 29: an interrupt when it is done.
		if ((value & (1 << 29)) !== 0) this.#raise(reg.INT_MDAC);
	}

	get #speed(): PhySpeed {
		const speedBps = this.#port.speedBps ?? 1e9;
		return speedBps <= 10e6 ? 0 : speedBps <= 100e6 ? 1 : 2;
	}

	/** STATUS and the transceiver as the cable is now. */
	#showLink(): void {
		const isUp = this.#port.hasCarrier;
		this.#phy.setLink(isUp, this.#speed);
		const isLinked = isUp && (this.#get(reg.CTRL) & reg.CTRL_SLU) !== 0;
		this.#set(reg.STATUS, reg.STATUS_PCIX | (isLinked ? reg.STATUS_LU : 0) | reg.STATUS_FD | (this.#speed << 6));
	}

	#linkChanged(): void {
		this.#showLink();
		this.#raise(reg.INT_LSC);
	}

	#raise(causes: number): void {
		this.#set(reg.ICR, this.#get(reg.ICR) | causes);
		this.#drive();
	}

	/** Puts the interrupt pin where it belongs; ITR keeps two interrupts apart. */
	#drive(): void {
		const isPending = (this.#get(reg.ICR) & this.#get(reg.IMS)) !== 0;
		if (isPending === this.#isAsserted) return;
		if (isPending) {
			const nowNs = this.#clock.nowNs;
			if (nowNs < this.#quietUntilNs) {
				if (!this.#itrTimer.isArmed) this.#itrTimer.arm(this.#quietUntilNs);
				return;
			}
			this.#quietUntilNs = nowNs + (this.#get(reg.ITR) & 0xffff) * ITR_UNIT_NS;
		}
		this.#isAsserted = isPending;
		this.pci.intx.set(isPending);
	}

	/** Rings are aligned to sixteen bytes. */
	#ringAddress(low: number): number {
		return this.#get(low + 4) * 2 ** 32 + ((this.#get(low) & ~15) >>> 0);
	}

	#transmit(): void {
		if ((this.#get(reg.TCTL) & reg.TCTL_EN) === 0) return;
		const size = this.#get(reg.TDLEN) >>> 4;
		let head = this.#get(reg.TDH) & 0xffff;
		const tail = this.#get(reg.TDT) & 0xffff;
		if (size === 0 || head === tail) return;
		const ring = this.#ringAddress(reg.TDBAL);
		let causes = reg.INT_TXQE;
		// A tail outside of the ring would never be reached: once round is enough.
		for (let done = 0; head !== tail && done < Math.min(size, 0x10000); done++) {
			const at = ring + head * DESCRIPTOR_BYTES;
			this.pci.dma.read(at, this.#descriptor);
			if (this.#transmitter.descriptor(this.#descriptorView)) {
				this.pci.dma.write(at + 12, Uint8Array.of(this.#descriptor[12]! | TX_DD));
				causes |= reg.INT_TXDW;
			}
			head = head + 1 >= size ? 0 : head + 1;
		}
		this.#set(reg.TDH, head);
		this.#raise(causes);
	}

	#send(frame: Uint8Array): void {
		this.stats.sentFrames++;
		this.#count(reg.GPTC, reg.TPT, reg.GOTCL, reg.TOTL, frame.length);
		this.#port.send(frame);
	}

	/** Counts a good frame: packets, and octets with their check sequence in two halves (§13.7). */
	#count(good: number, total: number, goodOctets: number, totalOctets: number, bytes: number): void {
		this.#set(good, this.#get(good) + 1);
		this.#set(total, this.#get(total) + 1);
		for (const at of [goodOctets, totalOctets]) {
			const sum = this.#get(at + 4) * 2 ** 32 + this.#get(at) + bytes + 4;
			this.#set(at, sum % 2 ** 32);
			this.#set(at + 4, Math.floor(sum / 2 ** 32));
		}
	}

	#arrived(frame: Uint8Array): void {
		if ((this.#get(reg.RCTL) & reg.RCTL_EN) === 0 || (this.#get(reg.STATUS) & reg.STATUS_LU) === 0) return;
		if (frame.length < 14 || !isWanted(frame, (offset) => this.#get(offset))) return;
		if (this.#backlogBytes + frame.length > MAX_BACKLOG_BYTES) {
			this.stats.droppedFrames++;
			this.#set(reg.MPC, this.#get(reg.MPC) + 1);
			this.#raise(reg.INT_RXO);
			return;
		}
		this.#backlog.push(frame);
		this.#backlogBytes += frame.length;
		this.#receive();
	}

	#receive(): void {
		if ((this.#get(reg.RCTL) & reg.RCTL_EN) === 0) return;
		let done = 0;
		while (done < this.#backlog.length && this.#place(this.#backlog[done]!)) this.#backlogBytes -= this.#backlog[done++]!.length;
		if (done > 0) this.#backlog.splice(0, done);
		if (this.#backlog.length > 0) this.#set(reg.RNBC, this.#get(reg.RNBC) + 1);
		if (done === 0) return;
		const size = this.#get(reg.RDLEN) >>> 4;
		const free = (this.#get(reg.RDT) - this.#get(reg.RDH) + size) % Math.max(size, 1);
		const threshold = size >> (1 + ((this.#get(reg.RCTL) >> 8) & 3));
		this.#raise(reg.INT_RXT0 | (free <= threshold ? reg.INT_RXDMT0 : 0));
	}

	get #bufferBytes(): number {
		const rctl = this.#get(reg.RCTL);
		const code = (rctl >> 16) & 3;
		return (rctl & reg.RCTL_BSEX) !== 0 && code > 0 ? 32768 >> code : 2048 >> code;
	}

	/** Writes a frame into as many descriptors' buffers as it takes; false when there are too few. */
	#place(frame: Uint8Array): boolean {
		const { bytes, vlan } = this.#prepare(frame);
		const size = this.#get(reg.RDLEN) >>> 4;
		const bufferBytes = this.#bufferBytes;
		let head = this.#get(reg.RDH) & 0xffff;
		const tail = this.#get(reg.RDT) & 0xffff;
		const wanted = Math.ceil(bytes.length / bufferBytes);
		const free = size === 0 || head >= size || tail >= size ? 0 : (tail - head + size) % size;
		if (free < wanted) return false;
		const ring = this.#ringAddress(reg.RDBAL);
		const { status, errors, checksum } = this.#verdict(frame);
		for (let at = 0; at < bytes.length; at += bufferBytes) {
			const part = bytes.subarray(at, at + bufferBytes);
			const isLast = at + bufferBytes >= bytes.length;
			const address = ring + head * DESCRIPTOR_BYTES;
			this.pci.dma.read(address, this.#descriptor.subarray(0, 8));
			const view = this.#descriptorView;
			this.pci.dma.write(view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32, part);
			view.setUint16(8, part.length, true);
			view.setUint16(10, checksum, true);
			view.setUint8(12, RX_DD | (isLast ? RX_EOP | status | (vlan >= 0 ? RX_VP : 0) : 0));
			view.setUint8(13, isLast ? errors : 0);
			view.setUint16(14, Math.max(0, vlan), true);
			this.pci.dma.write(address + 8, this.#descriptor.subarray(8));
			head = head + 1 >= size ? 0 : head + 1;
		}
		this.#set(reg.RDH, head);
		this.stats.receivedFrames++;
		this.#count(reg.GPRC, reg.TPR, reg.GORCL, reg.TORL, frame.length);
		return true;
	}

	/** The frame as it goes to memory: padded, its check sequence behind it, its tag taken off, as the driver has asked. */
	#prepare(frame: Uint8Array): { bytes: Uint8Array; vlan: number } {
		const isStripped = (this.#get(reg.CTRL) & reg.CTRL_VME) !== 0 && readU16(frame, 12) === (this.#get(reg.VET) & 0xffff);
		const length = Math.max(MIN_FRAME_BYTES, frame.length);
		const checkBytes = (this.#get(reg.RCTL) & reg.RCTL_SECRC) !== 0 ? 0 : 4;
		const bytes = new Uint8Array(length + checkBytes);
		bytes.set(frame);
		if (checkBytes > 0) new DataView(bytes.buffer).setUint32(length, frameCheckSequence(bytes.subarray(0, length)), true);
		if (!isStripped) return { bytes, vlan: -1 };
		bytes.copyWithin(12, 16);
		return { bytes: bytes.subarray(0, bytes.length - 4), vlan: readU16(frame, 14) };
	}

	/** What the card has found out about checksums (§3.2.9, "Receive Packet Checksum Offloading"). */
	#verdict(frame: Uint8Array): { status: number; errors: number; checksum: number } {
		const control = this.#get(reg.RXCSUM);
		const checksum = sumWords(frame, Math.min(control & 0xff, frame.length));
		if ((control & (reg.RXCSUM_IPOFL | reg.RXCSUM_TUOFL)) === 0) return { status: RX_IXSM, errors: 0, checksum };
		const place = locateIp(frame);
		let [status, errors] = [0, 0];
		if (place !== undefined && !place.isIpv6 && (control & reg.RXCSUM_IPOFL) !== 0) {
			status |= RX_IPCS;
			if (sumWords(frame, place.ipAt, place.transportAt) !== 0xffff) errors |= RX_IPE;
		}
		const isGood = (control & reg.RXCSUM_TUOFL) === 0 ? undefined : isTransportChecksumGood(frame);
		if (isGood !== undefined) {
			status |= RX_TCPCS;
			if (!isGood) errors |= RX_TCPE;
		}
		return { status: status === 0 ? RX_IXSM : status, errors, checksum };
	}

	#resetRegisters(): void {
		this.#registers.fill(0);
		this.#transmitter.reset();
		this.#eeprom.reset();
		this.#phy.reset();
		this.#backlog = [];
		this.#backlogBytes = 0;
		this.#quietUntilNs = 0;
		this.#itrTimer.disarm();
		this.#set(reg.CTRL, reg.CTRL_FD | reg.CTRL_SLU);
		this.#set(reg.PBA, 0x0010_0030);
		this.#set(reg.VET, 0x8100);
		// The address comes out of the EEPROM (§5.6.1), low octets first.
		this.#set(reg.RAL0, (this.#eeprom.word(0) | (this.#eeprom.word(1) << 16)) >>> 0);
		this.#set(reg.RAH0, (this.#eeprom.word(2) | reg.RAH_AV) >>> 0);
		this.#showLink();
	}

	get mac(): Mac {
		return this.#mac;
	}

	reset(): void {
		this.pci.reset();
		this.#resetRegisters();
		this.#ioAddress = 0;
		this.#drive();
	}

	save(): E1000State {
		return {
			pci: this.pci.save(),
			registers: new Uint8Array(this.#registers.slice().buffer),
			phy: this.#phy.save(),
			eeprom: this.#eeprom.save(),
			transmit: this.#transmitter.save(),
			backlog: this.#backlog.map((frame) => frame.slice()),
			isAsserted: this.#isAsserted,
			quietUntilNs: this.#quietUntilNs,
			isLinkUp: (this.#get(reg.STATUS) & reg.STATUS_LU) !== 0,
			ioAddress: this.#ioAddress,
		};
	}

	/** A cable that is not as it was then is news for the guest. */
	load(state: E1000State): void {
		this.pci.load(state.pci);
		new Uint8Array(this.#registers.buffer).set(state.registers);
		this.#phy.load(state.phy);
		this.#eeprom.load(state.eeprom);
		this.#transmitter.load(state.transmit);
		this.#backlog = state.backlog.map((frame) => frame.slice());
		this.#backlogBytes = this.#backlog.reduce((sum, frame) => sum + frame.length, 0);
		this.#isAsserted = state.isAsserted;
		this.#quietUntilNs = state.quietUntilNs;
		this.#ioAddress = state.ioAddress;
		this.#itrTimer.disarm();
		this.#showLink();
		if (state.isLinkUp === ((this.#get(reg.STATUS) & reg.STATUS_LU) !== 0)) this.#drive();
		else this.#raise(reg.INT_LSC);
	}
}
