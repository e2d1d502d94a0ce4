/** One QEMU, one browser, and who is measured. */

import type { Browser, Page } from 'playwright-core';

import { launch } from '../../../../console-proxy/viewer/tests/browser/chromium.ts';
import { Guest } from '../../../../console-proxy/viewer/tests/browser/guest.ts';
import { RESOLVE } from '../../../../console-proxy/viewer/tests/browser/proxy.ts';
import { Relay } from '../../../../console-proxy/viewer/tests/browser/relay.ts';
import type { Line } from '../../../../console-proxy/viewer/tests/browser/relay.ts';
import { hashOf, watch } from '../../../../console-proxy/viewer/tests/browser/watch.ts';
import { NoVnc, Podzol } from './contestant.ts';
import type { Contestant } from './contestant.ts';

export interface World {
  readonly browser: Browser;
  readonly guest: Guest;
  readonly podzol: Podzol;
  readonly novnc: NoVnc;
}

export async function begin(): Promise<World> {
  const world = { browser: await launch([RESOLVE]), guest: new Guest(), podzol: new Podzol(), novnc: new NoVnc() };
  await world.guest.start();
  await Promise.all([world.podzol.start(world.guest.port), world.novnc.start(world.guest.port)]);
  return world;
}

export async function end({ browser, guest, podzol, novnc }: World): Promise<void> {
  podzol.stop();
  novnc.stop();
  guest.stop();
  await browser.close();
}

/** Both, the other one first in each second round. */
export function inTurn({ podzol, novnc }: World, round: number): Contestant[] {
  return round % 2 === 0 ? [podzol, novnc] : [novnc, podzol];
}

/** A page that shows the guest, and the line that it is on. */
export interface Open {
  readonly page: Page;
  readonly relay: Relay;
  /** When its link was opened, by `performance.now()`. */
  readonly begun: number;
  close(): Promise<void>;
}

export async function open({ browser }: World, contestant: Contestant, line: Partial<Line> = {}, way = ''): Promise<Open> {
  const relay = new Relay(contestant.port, line);
  await relay.listen();
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  await watch(page);
  const begun = performance.now();
  await page.goto(contestant.link(relay.port, way));
  await page.waitForSelector('body[data-phase="on"]');
  await page.waitForSelector(contestant.canvas);
  const close = async (): Promise<void> => {
    await context.close();
    relay.stop();
    await wait(300);
  };
  return { page, relay, begun, close };
}

/** Waits until the page shows what QEMU does, to the pixel: whether it ever did. */
export async function exact({ guest }: World, contestant: Contestant, page: Page): Promise<boolean> {
  for (const patience = performance.now() + 15_000; performance.now() < patience; await wait(50)) {
    if ((await hashShown(page, contestant.canvas)) === hashOf(await guest.screen())) return true;
  }
  return false;
}

function hashShown(page: Page, selector: string): Promise<string> {
  return page.evaluate(async (selector) => {
    const canvas = document.querySelector<HTMLCanvasElement>(selector);
    const data = canvas?.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? new Uint8ClampedArray();
    const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', data));
    return `${canvas?.width}x${canvas?.height} ${Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
  }, selector);
}

export function wait(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
