import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { EXACT, VIEWER, bodies, goldens } from '../corpus.ts';
import { png } from '../unit/memory.ts';
import { certificate } from './certificate.ts';
import { complaints, launch, seen, seenHash, visit } from './chromium.ts';
import { Stand } from './stand.ts';

let browser: Browser;
const made = certificate();

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

const TRANSPORTS = ['socket', 'stream', 'poll'] as const;

describe.each(TRANSPORTS)('through %s', (transport) => {
  it.each(EXACT)('%s is seen as the Rust decoder has it', async (kind) => {
    const stand = new Stand(made);
    await stand.listen();
    const page = await browser.newPage({ ignoreHTTPSErrors: true });
    const said = complaints(page);
    try {
      const chain = bodies(kind);
      stand.show(chain.slice(0, 1));
      await visit(page, stand.link(`?transport=${transport}`));
      for (const at of [0, chain.length - 2, chain.length - 1]) {
        stand.show(chain.slice(0, at + 1));
        await expect.poll(() => seenHash(page)).toBe(goldens(kind)[at]?.picture);
      }
      expect(said).toEqual([]);
      expect(stand.asked.filter((path) => path.endsWith(transport === 'poll' ? '/updates' : `/${transport}`)).length).toBeGreaterThan(0);
    } finally {
      await page.close();
      await stand.stop();
    }
  });
});

it('photographs are nearly as the Rust decoder has them', async () => {
  const stand = new Stand(made);
  await stand.listen();
  const page = await browser.newPage({ ignoreHTTPSErrors: true });
  const chain = bodies('jpeg');
  stand.show(chain);
  await visit(page, stand.link());
  const expected = png(readFileSync(join(VIEWER, '../stripes/tests/pictures/jpeg.png'))).pixels;
  const decibels = async (): Promise<number> => {
    const { samples } = await seen(page);
    if (samples.length !== expected.length * 4) return 0;
    let sum = 0;
    expected.forEach((pixel, at) => {
      for (const [place, shift] of [16, 8, 0].entries()) sum += ((samples[at * 4 + place] ?? 0) - ((pixel >> shift) & 0xff)) ** 2;
    });
    return 10 * Math.log10((255 * 255 * expected.length * 3) / Math.max(sum, 1));
  };
  await expect.poll(decibels).toBeGreaterThan(40);
  await page.close();
  await stand.stop();
});
