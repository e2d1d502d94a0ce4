/** Ten thousand events from the page, through lines that lose, hold up and repeat what they carry. */

import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { certificate } from './certificate.ts';
import { complaints, launch, visit } from './chromium.ts';
import { FaultyLine } from './faults.ts';
import { isWithin, mixed, withoutMoves } from './mixed.ts';
import { Stand } from './stand.ts';

let browser: Browser;
const made = certificate();
const EVENTS = 10_000;

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

describe.each(['socket', 'stream', 'poll'] as const)('through %s', (transport) => {
  it('all events arrive once and in order', { timeout: 180_000 }, async () => {
    const stand = new Stand(made);
    await stand.listen();
    const line = new FaultyLine(made, stand.port, { drop: 0.05, repeat: 0.05, delay: 0.05, cutAfter: 20_000 });
    await line.listen();
    stand.show([Uint8Array.from([1, 3, 1, 0x80, 8, 0x80, 6])]);
    const page = await browser.newPage({ ignoreHTTPSErrors: true });
    const said = complaints(page);
    const link = stand.link(`?transport=${transport}`).replace(String(stand.port), String(line.port));
    await visit(page, link);
    await expect.poll(() => page.getAttribute('body', 'data-phase')).toBe('on');
    const expected = await page.evaluate(mixed, EVENTS);
    const all = withoutMoves(expected).length;
    await expect.poll(() => withoutMoves(stand.events).length, { timeout: 150_000, interval: 200 }).toBeGreaterThanOrEqual(all);
    // Moves between other events may be merged into the last one.
    expect(withoutMoves(stand.events)).toEqual(withoutMoves(expected));
    expect(isWithin(stand.events, expected)).toBe(true);
    if (transport === 'socket') expect(line.done.cut).toBeGreaterThan(0);
    else expect(Math.min(line.done.dropped + line.done.lost, line.done.repeated, line.done.delayed)).toBeGreaterThan(0);
    console.log(transport, stand.events.length, 'of', expected.length, JSON.stringify(line.done));
    expect(said).toEqual([]);
    await page.close();
    line.stop();
    await stand.stop();
  });
});
