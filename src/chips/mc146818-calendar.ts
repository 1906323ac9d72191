/** Calendar arithmetic of a real-time clock: proleptic Gregorian, no leap seconds. */

export interface CalendarTime {
	readonly second: number;
	readonly minute: number;
	readonly hour: number;
	/** 1–31. */
	readonly day: number;
	/** 1–12. */
	readonly month: number;
	/** With its century. */
	readonly year: number;
}

export const SECONDS_PER_DAY = 86_400;

/** Days since 1970-01-01. Months and days out of range carry over, as a guest may have set them. */
function daysOf(year: number, month: number, day: number): number {
	// Years that begin in March put the leap day last.
	const shifted = month <= 2 ? year - 1 : year;
	const era = Math.floor(shifted / 400);
	const yearOfEra = shifted - era * 400;
	const dayOfYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1;
	const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
	return era * 146_097 + dayOfEra - 719_468;
}

/** Seconds since 1970-01-01T00:00:00. */
export function secondsOf(time: CalendarTime): number {
	return daysOf(time.year, time.month, time.day) * SECONDS_PER_DAY + time.hour * 3600 + time.minute * 60 + time.second;
}

export function calendarOf(seconds: number): CalendarTime {
	const days = Math.floor(seconds / SECONDS_PER_DAY);
	const ofDay = seconds - days * SECONDS_PER_DAY;
	const sinceEpoch = days + 719_468;
	const era = Math.floor(sinceEpoch / 146_097);
	const dayOfEra = sinceEpoch - era * 146_097;
	const yearOfEra = Math.floor(
		(dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
	);
	const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
	const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153);
	const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
	return {
		second: ofDay % 60,
		minute: Math.floor(ofDay / 60) % 60,
		hour: Math.floor(ofDay / 3600),
		day: dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1,
		month,
		year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0),
	};
}

/** 1 = Sunday … 7, as the clock's day-of-week register counts. */
export function dayOfWeek(seconds: number): number {
	const days = Math.floor(seconds / SECONDS_PER_DAY);
	return ((((days + 4) % 7) + 7) % 7) + 1;
}
