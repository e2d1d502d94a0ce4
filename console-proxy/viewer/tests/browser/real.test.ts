/** The page with the real proxy and a real QEMU. `PODZOL_CONSOLE_PROXY` says where the program is, built with this page in it. */

import { existsSync } from 'node:fs';

import type { Page } from 'playwright-core';
import { chromium } from 'playwright-core';
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { certificate } from './certificate.ts';
import { complaints, seen, visit } from './chromium.ts';
import { Display } from './display.ts';
import { FaultyLine } from './faults.ts';
import { Machine } from './machine.ts';
import { isWithin, mixed, withoutMoves } from './mixed.ts';
import { PROXY, RESOLVE, RealProxy, Resumes } from './proxy.ts';
import { Relay } from './relay.ts';
import { phase, ready } from './world.ts';

const missing = [
  ...(PROXY ? [] : ['PODZOL_CONSOLE_PROXY is not set']),
  ...(existsSync('/usr/bin/qemu-system-x86_64') ? [] : ['qemu-system-x86 is not installed']),
];
if (missing.length > 0) {
  if (process.env['PODZOL_MUST_RUN']) throw new Error(missing.join(', '));
  console.log(`tests with the real proxy do not run: ${missing.join(', ')}`);
}

describe.skipIf(missing.length > 0)('with the real proxy', () => {
  let browser: Browser;
  let proxy: RealProxy;
  let machine: Machine;
  let said: string[];

  beforeAll(async () => {
    const args = ['--no-sandbox', '--disable-gpu', '--ignore-certificate-errors', RESOLVE];
    browser = await chromium.launch({ executablePath: process.env['PODZOL_CHROMIUM'] ?? '/usr/bin/chromium', args });
  });
  afterAll(() => browser.close());
  beforeEach(async () => {
    proxy = new RealProxy();
    machine = new Machine();
    said = [];
    await Promise.all([proxy.start(), machine.start()]);
    await proxy.show(machine.port);
  });
  // A page that is left open asks again and again for what is gone, at ports that the next test may have.
  afterEach(async () => {
    await Promise.all(browser.contexts().map((context) => context.close()));
    proxy.stop();
    machine.stop();
  });

  const open = async (link: string): Promise<Page> => {
    const page = await browser.newPage({ ignoreHTTPSErrors: true });
    said = complaints(page);
    await visit(page, link);
    await ready(page);
    return page;
  };

  /** Another proxy that shows the same display. */
  const another = async (): Promise<RealProxy> => {
    const other = new RealProxy();
    await other.start();
    await other.show(machine.port);
    return other;
  };

  /** Has the proxy be one whose pages know where to ask for another link. */
  const resumable = async (): Promise<Resumes> => {
    const resumes = new Resumes(certificate());
    await resumes.listen();
    proxy.stop();
    proxy = new RealProxy();
    proxy.resume = resumes.origin;
    await proxy.start();
    await proxy.show(machine.port);
    return resumes;
  };

  /** Whether the page shows what QEMU does, pixel for pixel. */
  const same = async (page: Page): Promise<string> => {
    const [here, there] = [await seen(page), await machine.screen()];
    if (here.width !== there.width || here.height !== there.height) return `${here.width}x${here.height}, not ${there.width}x${there.height}`;
    let [wrong, lit] = [0, 0];
    for (let pixel = 0; pixel < here.width * here.height; pixel += 1) {
      for (const part of [0, 1, 2]) {
        if (here.samples[pixel * 4 + part] !== there.samples[pixel * 3 + part]) wrong += 1;
        if (there.samples[pixel * 3 + part] !== 0) lit += 1;
      }
    }
    return wrong > 0 ? `${wrong} samples are wrong` : lit > 0 ? 'same' : 'all is black';
  };
  const text = async (): Promise<number> => (await machine.screen()).samples.filter((sample) => sample > 0).length;

  it.each(['socket', 'stream', 'poll'] as const)('what is typed is seen as QEMU has it, through %s', async (transport) => {
    const page = await open(proxy.link(`?transport=${transport}`));
    await expect.poll(async () => (await machine.screen()).width).toBe(720);
    const before = await text();
    await page.focus('#picture');
    await page.keyboard.type('Hello, Podzol! {[~|\\]}', { delay: 5 });
    await expect.poll(text).toBeGreaterThan(before + 500);
    await expect.poll(() => same(page)).toBe('same');
    for (let line = 0; line < 40; line += 1) await page.keyboard.type(`line ${line}\n`);
    await expect.poll(() => same(page)).toBe('same');
    expect(said).toEqual([]);
    await page.close();
  });

  it('a page goes on after the VM was reset, the page loaded again, and its session put anew', async () => {
    const page = await open(proxy.link());
    await page.focus('#picture');
    await page.keyboard.type('before');
    await expect.poll(() => same(page)).toBe('same');
    await machine.reset();
    await page.keyboard.type('x');
    await page.reload();
    await ready(page);
    await expect.poll(() => same(page)).toBe('same');
    const other = new Machine();
    await other.start();
    await proxy.show(other.port);
    const first = machine;
    machine = other;
    await expect.poll(() => same(page)).toBe('same');
    await expect.poll(() => phase(page)).toBe('on');
    first.stop();
    expect(said).toEqual([]);
  });

  it.each(['socket', 'stream', 'poll'] as const)('a proxy that is killed is left for another one, from %s', async (way) => {
    const [resumes, other] = [await resumable(), await another()];
    try {
      const page = await open(proxy.link(`?transport=${way}`));
      proxy.kill();
      resumes.answer = () => ({ wait: 0.5, progress: 'a console proxy starts' });
      await expect.poll(() => page.textContent('#notice-text')).toBe('a console proxy starts');
      resumes.answer = () => ({ url: other.link() });
      await expect.poll(() => new URL(page.url()).port).toBe(String(other.port));
      await ready(page);
      await page.focus('#picture');
      await page.keyboard.type('here');
      await expect.poll(() => same(page)).toBe('same');
    } finally {
      other.stop();
      resumes.stop();
    }
  });

  it('a proxy whose machine is lost without a word is left by a page that polls', { timeout: 120_000 }, async () => {
    const [resumes, other] = [await resumable(), await another()];
    const relay = new Relay(proxy.port);
    await relay.listen();
    try {
      const page = await open(proxy.link('?transport=poll', relay.port));
      resumes.answer = () => ({ url: other.link() });
      relay.die();
      // By the limits of polls alone it would take a minute and a quarter.
      await expect.poll(() => new URL(page.url()).port, { timeout: 60_000, interval: 500 }).toBe(String(other.port));
      await ready(page);
    } finally {
      other.stop();
      relay.stop();
      resumes.stop();
    }
  });

  it('a proxy that was killed and starts again is found again', async () => {
    const resumes = await resumable();
    const page = await open(proxy.link());
    proxy.kill();
    await proxy.start();
    await proxy.show(machine.port);
    resumes.answer = () => ({ url: proxy.link() });
    await page.focus('#picture');
    await expect.poll(() => phase(page)).toBe('on');
    await page.keyboard.type('again');
    await expect.poll(() => same(page)).toBe('same');
    resumes.stop();
  });

  it('several pages see the same, and each other', async () => {
    const pages = [await open(proxy.link()), await open(proxy.link('?transport=poll')), await open(proxy.link('?transport=stream'))];
    await pages[0]?.focus('#picture');
    await pages[0]?.keyboard.type('three of us');
    for (const page of pages) {
      await expect.poll(() => same(page)).toBe('same');
      await expect.poll(() => page.textContent('#status-text')).toContain('3 viewers');
    }
  });

  it.each(['socket', 'stream', 'poll'] as const)('ten thousand events arrive once and in order through %s that loses some', { timeout: 180_000 }, async (way) => {
    const display = new Display();
    await display.listen();
    const line = new FaultyLine(certificate(), proxy.port, { drop: 0.05, repeat: 0.05, delay: 0.05, cutAfter: 20_000 });
    await line.listen();
    await proxy.show(display.port);
    const page = await open(proxy.link(`?transport=${way}`, line.port));
    await expect.poll(() => page.evaluate(() => document.querySelector<HTMLCanvasElement>('#picture')?.width)).toBe(1024);
    const expected = await page.evaluate(mixed, { count: 10_000, rest: 12 });
    const all = withoutMoves(expected).length;
    await expect.poll(() => withoutMoves(display.events).length, { timeout: 120_000, interval: 200 }).toBeGreaterThanOrEqual(all);
    expect(withoutMoves(display.events)).toEqual(withoutMoves(expected));
    expect(isWithin(display.events, expected)).toBe(true);
    console.log(way, display.events.length, 'of', expected.length, JSON.stringify(line.done));
    expect(said).toEqual([]);
    line.stop();
    display.stop();
  });

  it.each(['stream', 'poll'] as const)('the picture is QEMU\'s at rest though %s loses a tenth of all requests', async (way) => {
    const line = new FaultyLine(certificate(), proxy.port, { drop: 0.1, repeat: 0.1, delay: 0.1 });
    await line.listen();
    const page = await open(proxy.link(`?transport=${way}`, line.port));
    await page.focus('#picture');
    for (let number = 0; number < 30; number += 1) {
      await page.keyboard.type(`line ${number}\n`, { delay: 10 });
      if (number % 10 === 9) await expect.poll(() => same(page)).toBe('same');
    }
    expect(line.done.dropped + line.done.lost).toBeGreaterThan(2);
    expect(said).toEqual([]);
    line.stop();
  });

  describe('what is painted is seen by pages of all ways', () => {
    let display: Display;
    let pages: Page[];
    beforeEach(async () => {
      display = new Display();
      await display.listen();
      await proxy.show(display.port);
      pages = [];
      for (const way of ['socket', 'stream', 'poll', 'socket', 'poll']) pages.push(await open(proxy.link(`?transport=${way}`)));
    });
    afterEach(async () => {
      for (const page of pages) await page.close();
      display.stop();
    });

    /** Fails unless all pages show it, pixel for pixel, once it has rested. */
    const rests = async (): Promise<void> => {
      for (const page of pages) {
        const wrong = async (): Promise<string> => {
          const { width, height, samples } = await seen(page);
          if (width !== display.width || height !== display.height) return `${width}x${height}`;
          const found = display.pixels.reduce((sum, pixel, at) => sum + (samples.readUIntBE(at * 4, 3) === pixel ? 0 : 1), 0);
          return `${found} pixels are wrong`;
        };
        await expect.poll(wrong, { interval: 200 }).toBe('0 pixels are wrong');
      }
      expect(said).toEqual([]);
    };
    const noise = (x: number, y: number): number => {
      const mixed = Math.imul((x << 16) | y, 0x9e3779b1);
      return Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b) >>> 8;
    };
    const photo = (shift: number) => (x: number, y: number): number => {
      const grey = (noise(x + shift, y) & 7) + (((x + y + shift * 3) >> 2) & 0x7f);
      return (grey << 16) | ((grey + 20) << 8) | (255 - grey);
    };
    const text = (first: number) => (x: number, y: number): number => (noise(x >> 1, first * 16 + y) & 3) === 0 && y % 16 > 3 ? 0xaaaaaa : 0;
    const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

    it('a text that scrolls', async () => {
      for (let line = 0; line < 40; line += 1) {
        display.paint(0, 0, 1024, 768, text(line));
        await wait(25);
      }
      await rests();
    });

    it('a video, and the photograph with which it ends', async () => {
      for (let frame = 0; frame < 30; frame += 1) {
        display.paint(200, 100, 320, 240, photo(frame * 5));
        await wait(40);
      }
      await rests();
    });

    it('a window that is dragged over a photograph', async () => {
      const ground = photo(0);
      display.paint(0, 0, 1024, 768, ground);
      let [left, top] = [40, 30];
      for (let step = 0; step < 25; step += 1) {
        display.paint(left, top, 240, 160, (x, y) => ground(x + left, y + top));
        [left, top] = [left + 17, top + 9];
        display.paint(left, top, 240, 160, (x, y) => (y < 20 ? 0x3366aa : text(3)(x, y) | 0x101010));
        await wait(30);
      }
      await rests();
    });

    it('a desktop that gets another size, and a cursor', async () => {
      display.paint(0, 0, 1024, 768, photo(3));
      for (const [width, height] of [[640, 480], [1283, 717], [320, 200], [801, 601]] as const) {
        display.resize(width, height);
        display.paint(0, 0, width, height, text(width));
        await wait(150);
      }
      display.cursor(16, 24);
      await rests();
      for (const page of pages) await expect.poll(() => page.evaluate(() => document.querySelector<HTMLElement>('#picture')?.style.cursor)).toContain('blob:');
      display.cursor(48, 48);
      await expect.poll(() => pages[0]?.evaluate(() => document.querySelector('#picture')?.className)).toContain('own-cursor');
    });
  });

  it('a viewer that may only look is refused by the proxy, not only by the page', async () => {
    await proxy.show(machine.port, { rights: 'view' });
    const page = await open(proxy.link());
    const status = await page.evaluate(async () => {
      const opened = (await (await fetch(`${location.pathname}/viewers`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' })).json()) as { viewer: string };
      const body = Uint8Array.from([1, 0, 0, 1, 1, 0x1e, 0x61]);
      const headers = { 'content-type': 'application/octet-stream' };
      return (await fetch(`${location.pathname}/v/${opened.viewer}/input`, { method: 'POST', headers, body })).status;
    });
    expect(status).toBe(403);
  });
});
