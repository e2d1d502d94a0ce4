/**
 * What pages show of a real VM that draws, through the real proxy, beside what QEMU says that it shows.
 *
 * At rest both must be the same to the pixel. While something moves there is no one moment at which both could be looked at, so
 * the VM's processor is stopped in the midst of a scene: QEMU's picture then stays, and the page still shows how the proxy has sent what was
 * moving, until tiles have rested for half a second (a tenth if they change seldom) and come once more without loss. What is compared is the first picture after
 * the stop that the page has shown for 0.3 s: everything has arrived then, and what was sent with loss is not refined
 * yet. A page that is far away may still show for that long what was before the stop, and then what is exact; so it is compared where it gets
 * pictures with loss, and the last one counts that it has shown so long. A picture put together of several moments, as one sees it for some milliseconds between two updates, is not compared: no
 * picture of QEMU's is like it.
 *
 * These are samples. Each picture of viewers of different speed is compared where there is a clock that can be stopped
 * (`console-proxy/stripes/tests/updates/scenarios.rs`), and what that decoder has of a body is what a page has, through every
 * transport (`pictures.test.ts`).
 */

import { existsSync } from 'node:fs';

import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { complaints, launch, visit } from './chromium.ts';
import { Guest } from './guest.ts';
import { OF_TEMPLATE, RESOLVE, RealProxy } from './proxy.ts';
import { Relay } from './relay.ts';
import type { Line } from './relay.ts';
import { hashOf, hashSeen, nearest, note, watch } from './watch.ts';
import { ready } from './world.ts';

const missing = [
  ...(OF_TEMPLATE ? [] : ['PODZOL_CONSOLE_PROXY_OF_TEMPLATE is not set']),
  ...(existsSync('/usr/bin/qemu-system-x86_64') ? [] : ['qemu-system-x86 is not installed']),
];
if (missing.length > 0) {
  if (process.env['PODZOL_MUST_RUN']) throw new Error(missing.join(', '));
  console.log(`tests with scenes do not run: ${missing.join(', ')}`);
}

/** Scenes and how long they go on, in milliseconds. */
const SCENES = { scroll: 1200, boot: 1000, typing: 1200, drag: 1500, photo: 1200, video: 1500, resize: 1200, cursor: 1000 };

/** Those of which pages get pictures with loss while they move. */
const LOSSY = ['photo', 'video'];

/** How far a page is from the proxy, if it is at all. */
const NEAR = undefined;
const FAR: Line = { roundTrip: 60, rate: 1 << 20 };
const FARTHER: Line = { roundTrip: 150, rate: 1 << 19 };

/** Ways of pages that look at a time: each of them sees each scene, at rest and while it moves. */
const VIEWERS: { ways: [string, Line | undefined][] }[] = [
  { ways: [['socket', NEAR]] },
  { ways: [['stream', NEAR], ['poll', NEAR]] },
  { ways: [['socket', NEAR], ['stream', FAR], ['poll', NEAR], ['socket', FARTHER], ['poll', FARTHER]] },
];

describe.skipIf(missing.length > 0)('scenes', () => {
  let browser: Browser;
  let proxy: RealProxy;
  let guest: Guest;
  let after: (() => Promise<void> | void)[] = [];
  const said: string[] = [];

  beforeAll(async () => {
    [browser, proxy, guest] = [await launch([RESOLVE]), new RealProxy(OF_TEMPLATE), new Guest()];
    await Promise.all([proxy.start(), guest.start()]);
    await proxy.show(guest.port);
  });
  afterAll(async () => {
    proxy.stop();
    guest.stop();
    await browser.close();
  });
  afterEach(async () => {
    for (const end of after.splice(0)) await end();
    await guest.resume();
    expect(said.splice(0)).toEqual([]);
  });

  const open = async (way: string, line: Line | undefined): Promise<Page> => {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const page = await context.newPage();
    const now = complaints(page);
    after.push(() => context.close(), () => void said.push(...now));
    const relay = line && new Relay(proxy.port, line);
    await relay?.listen();
    if (relay) after.push(() => relay.stop());
    await watch(page);
    await visit(page, proxy.link(`?transport=${way}`, relay?.port));
    await ready(page);
    return page;
  };

  it.each(VIEWERS)('$ways.length pages show what QEMU does once a scene is at rest, pixel for pixel', async ({ ways }) => {
    const pages: Page[] = [];
    for (const [way, line] of ways) pages.push(await open(way, line));
    for (const [name, milliseconds] of Object.entries(SCENES)) {
      await guest.begin(name, 11 + ways.length, milliseconds);
      await guest.over();
      const wanted = hashOf(await guest.screen());
      await expect.poll(() => Promise.all(pages.map(hashSeen)), { interval: 50, message: name }).toEqual(pages.map(() => wanted));
    }
  });

  it.each(VIEWERS)('what moves is near to what QEMU shows, with $ways.length pages', { timeout: 450_000, retry: 2 }, async ({ ways }) => {
    const opened: { page: Page; way: string; line: Line | undefined }[] = [];
    for (const [way, line] of ways) opened.push({ page: await open(way, line), way, line });
    for (const name of Object.keys(SCENES)) {
      const pages = opened.filter(({ line }) => line === NEAR || (line === FAR && LOSSY.includes(name)));
      await guest.begin(name, 5, 60_000);
      // Pauses are made until each page has been near twice. One that is late, on a machine with much to do, still shows what was before
      // the stop. Of a video, pictures must have been seen before they were refined, too; a photograph is refined too soon to be sure of that.
      const lacking = new Map(pages.map((page) => [page, { near: 2, lossy: name === 'video' ? 1 : 0 }]));
      for (let stop = 0; stop < 16 && lacking.size > 0; stop += 1) {
        await new Promise((resolve) => setTimeout(resolve, 700 + (stop % 8) * 137));
        await guest.pause();
        await Promise.all(pages.map(({ page }) => note(page)));
        const screen = await guest.screen();
        const compared = pages.map(async (one) => ({ one, seen: await nearest(one.page, screen, one.line ? 'last' : 'first') }));
        for (const { one, seen } of await Promise.all(compared)) {
          console.log(name, one.way, one.line?.roundTrip ?? 0, JSON.stringify(seen));
          const lacks = lacking.get(one);
          if (!lacks || (seen.psnr ?? Infinity) < 35 || (seen.ofThose ?? Infinity) < 32) continue;
          lacks.near -= 1;
          if (seen.tiles > 0) lacks.lossy -= 1;
          if (lacks.near <= 0 && lacks.lossy <= 0) lacking.delete(one);
        }
        await guest.resume();
      }
      await guest.end();
      expect([...lacking.entries()].map(([{ way, line }, lacks]) => ({ way, line, ...lacks })), name).toEqual([]);
    }
  });
});
