/** Ten thousand events from the page, through lines that lose, hold up and repeat what they carry. */

import { existsSync } from 'node:fs';

import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

import { certificate } from './certificate.ts';
import { complaints, launch, visit } from './chromium.ts';
import { FaultyLine } from './faults.ts';
import { Machine } from './machine.ts';
import { isWithin, mixed, withoutMoves } from './mixed.ts';
import { PROXY, RESOLVE, RealProxy } from './proxy.ts';
import { Stand } from './stand.ts';
import { ready } from './world.ts';

let browser: Browser;
const made = certificate();
const EVENTS = 10_000;
/** What happens to requests; sockets are cut each so many bytes. */
const FAULTS = { drop: 0.05, repeat: 0.05, delay: 0.05, cutAfter: 20_000 };
/** Milliseconds that QEMU takes for the keys of forty events, and the proxy leaves it before clicks. */
const KEYS_TAKE = 800;
const missing = [
  ...(PROXY ? [] : ['PODZOL_CONSOLE_PROXY is not set']),
  ...(existsSync('/usr/bin/qemu-system-x86_64') ? [] : ['qemu-system-x86 is not installed']),
];
if (missing.length > 0) {
  if (process.env['PODZOL_MUST_RUN']) throw new Error(missing.join(', '));
  console.log(`tests of input to a VM do not run: ${missing.join(', ')}`);
}

beforeAll(async () => {
  browser = await launch([RESOLVE]);
});
afterAll(() => browser.close());

describe.each(['socket', 'stream', 'poll'] as const)('through %s', (transport) => {
  it('all events arrive once and in order', { timeout: 180_000 }, async () => {
    const stand = new Stand(made);
    await stand.listen();
    const line = new FaultyLine(made, stand.port, FAULTS);
    await line.listen();
    stand.show([Uint8Array.from([1, 3, 1, 0x80, 8, 0x80, 6])]);
    const page = await browser.newPage({ ignoreHTTPSErrors: true });
    const said = complaints(page);
    const link = stand.link(`?transport=${transport}`).replace(String(stand.port), String(line.port));
    await visit(page, link);
    await expect.poll(() => page.getAttribute('body', 'data-phase')).toBe('on');
    const expected = await page.evaluate(mixed, { count: EVENTS, rest: 12 });
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

  it.skipIf(missing.length > 0)('all arrive at a VM of QEMU through the real proxy', { timeout: 450_000 }, async () => {
    const [proxy, machine] = [new RealProxy(), new Machine('notes input')];
    onTestFinished(() => {
      proxy.stop();
      machine.stop();
    });
    await Promise.all([proxy.start(), machine.start()]);
    await proxy.show(machine.port);
    const line = new FaultyLine(made, proxy.port, FAULTS);
    onTestFinished(() => line.stop());
    await line.listen();
    const page = await browser.newPage({ ignoreHTTPSErrors: true });
    const said = complaints(page);
    await visit(page, proxy.link(`?transport=${transport}`, line.port));
    await ready(page);
    // Its firmware begins in another mode, and with a pointer that is told ways.
    const isSettled = async (): Promise<boolean> => {
      await page.mouse.move(100 + Math.random() * 200, 200);
      const [{ width, height }, shown] = [await machine.screen(), await page.evaluate(() => document.querySelector<HTMLCanvasElement>('#picture')?.width)];
      return machine.hasPlaces() && shown === width && height === 400;
    };
    await expect.poll(isSettled, { timeout: 60_000 }).toBe(true);
    const { width, height } = await machine.screen();
    const expected = withoutMoves(await page.evaluate(mixed, { count: transport === 'socket' ? EVENTS : EVENTS / 4, rest: KEYS_TAKE })).map((event) => {
      const [kind, what, where] = event.split(' ');
      if (kind === 'pointer') return `${what === '1' ? 'down' : 'up'} ${where}`;
      return `${kind} ${String.fromCharCode(parseInt(where ?? '', 16))}`;
    });
    await expect.poll(() => machine.given(width, height).length, { timeout: 200_000, interval: 200 }).toBeGreaterThanOrEqual(expected.length);
    expect(machine.given(width, height)).toEqual(expected);
    console.log(transport, 'to QEMU', expected.length, JSON.stringify(line.done));
    expect(said).toEqual([]);
    await page.close();
  });
});
