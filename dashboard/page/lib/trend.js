// How a period compares with the one before, in words. Pure functions.

import { percent } from './format.js';

// periodName: of an interval as view job_stats has it.
export const periodName = (period) => ({ '01:00:00': 'last hour', '1 day': 'last day', '7 days': 'last week' })[period] ?? period;

const SAME_RATE = 0.005;
const SAME_TIME = 0.1;

// trends: [{ text, tone }] of a row of job_stats: what is worth a word.
export function trends({ runs, runs_before: before, success_trend: rate, p95_trend: time }) {
	if (!before)
		return runs > 0 ? [{ text: 'nothing before to compare with', tone: '' }] : [];
	if (!runs)
		return [{ text: 'none, but there were some before', tone: '' }];
	const words = [];
	if (rate !== null && rate !== undefined && Math.abs(rate) >= SAME_RATE)
		words.push(rate < 0 ? { text: `${percent(-rate)} fewer succeed`, tone: 'bad' } : { text: `${percent(rate)} more succeed`, tone: 'good' });
	if (time !== null && time !== undefined && Math.abs(time) >= SAME_TIME)
		words.push(time > 0 ? { text: `${percent(time)} slower`, tone: 'warn' } : { text: `${percent(-time)} faster`, tone: 'good' });
	return words.length > 0 ? words : [{ text: 'as before', tone: '' }];
}
