/** A browser, a stand-in and a page on it, for one test after the other. */

import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';

import { certificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { complaints, launch, visit } from './chromium.ts';
import { Stand } from './stand.ts';

export interface World {
  readonly certificate: Certificate;
  /** A stand-in that shows a grey desktop of 640x400. */
  stand(): Promise<Stand>;
  /** A page on a link that shows what there is. */
  page(link: string, options?: BrowserContextOptions): Promise<Page>;
  /** What pages complained about and a test expects. */
  expected: RegExp | undefined;
}

/** The first update: a desktop of 640x400, and its first tile white. */
export const FRESH = Uint8Array.from([1, 11, 1, 0x80, 5, 0x90, 3, 1, 0xff, 0xff, 0xff, 1, 0]);

/** Another tile white, after the update before. */
export function white(number: number, tile: number): Uint8Array {
  return Uint8Array.from([1, 8, number, 1, 1, 0xff, 0xff, 0xff, 1, tile * 2]);
}

export function world(): World {
  let browser: Browser;
  let after: (() => Promise<void>)[] = [];
  const said: string[] = [];
  beforeAll(async () => {
    browser = await launch();
  });
  afterAll(() => browser.close());
  const here: World = {
    certificate: certificate(),
    async stand() {
      const stand = new Stand(here.certificate);
      await stand.listen();
      stand.show([FRESH]);
      after.push(() => stand.stop());
      return stand;
    },
    async page(link, options = {}) {
      const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
      after.unshift(() => context.close());
      const page = await context.newPage();
      const now = complaints(page);
      after.unshift(async () => void said.push(...now));
      await visit(page, link);
      return page;
    },
    expected: undefined,
  };
  afterEach(async () => {
    const now = after;
    after = [];
    for (const end of now) await end().catch(() => undefined);
    const { expected } = here;
    here.expected = undefined;
    expect(said.splice(0).filter((one) => !expected?.test(one))).toEqual([]);
  });
  return here;
}

export function phase(page: Page): Promise<string | null> {
  return page.getAttribute('body', 'data-phase');
}

/** Waits until the page is connected and has the focus. */
export async function ready(page: Page): Promise<void> {
  await expect.poll(() => phase(page)).toBe('on');
}

/** Whether a tile is white. */
export function isWhite(page: Page, tile: number): Promise<boolean> {
  return page.evaluate((tile) => {
    const canvas = document.querySelector<HTMLCanvasElement>('#picture');
    const columns = Math.ceil((canvas?.width ?? 0) / 16);
    const at = [(tile % columns) * 16, Math.floor(tile / columns) * 16] as const;
    return canvas?.getContext('2d')?.getImageData(...at, 1, 1).data[0] === 255;
  }, tile);
}
