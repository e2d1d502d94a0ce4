/**
 * Pages in the Chromium of this machine, for a scenario that runs elsewhere: a request is a line of JSON on standard input, and its answer
 * a line on standard output. With the end of the input all pages are closed.
 *
 * Names are resolved, and certificates trusted, as whoever starts this has set up.
 */

import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';

import type { Page } from 'playwright-core';
import { chromium } from 'playwright-core';

import { complaints, seen } from '../browser/chromium.ts';

type Asked =
  | { readonly what: 'open'; readonly page: string; readonly url: string }
  /** What its canvas shows, and what the page says of itself. */
  | { readonly what: 'look'; readonly page: string }
  /** Types a line on the serial console, and gives the text that is there then. */
  | { readonly what: 'serial'; readonly page: string; readonly line: string }
  | { readonly what: 'close'; readonly page: string };

const browser = await chromium.launch({
  executablePath: process.env['PODZOL_CHROMIUM'] ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu'],
});
const pages = new Map<string, { readonly page: Page; readonly said: string[] }>();

async function answer(asked: Asked): Promise<unknown> {
  if (asked.what === 'open') {
    // Of its own, as of another person: no cookie of one page is the other's.
    const page = await (await browser.newContext()).newPage();
    pages.set(asked.page, { page, said: complaints(page) });
    await page.goto(asked.url);
    return {};
  }
  const found = pages.get(asked.page);
  if (!found) throw new Error(`there is no page ${asked.page}`);
  const { page, said } = found;
  switch (asked.what) {
    case 'look': {
      const phase = await page.getAttribute('body', 'data-phase');
      const { width, height, samples } = await seen(page);
      const sha256 = createHash('sha256').update(samples.filter((_, at) => at % 4 !== 3)).digest('hex');
      return { host: new URL(page.url()).hostname, phase, width, height, sha256, complaints: said };
    }
    case 'serial': {
      await page.click('#tab-serial');
      await page.locator('#terminal textarea').focus();
      const rows = page.locator('#terminal .xterm-rows');
      const before = await rows.innerText();
      await page.keyboard.type(asked.line);
      await page.keyboard.press('Enter');
      // There is no echo: what changes is an answer. Who has none after so long asks again.
      let text = await rows.innerText();
      for (let left = 50; left > 0 && text === before; left -= 1) {
        await page.waitForTimeout(100);
        text = await rows.innerText();
      }
      await page.click('#tab-display');
      return { text };
    }
    case 'close':
      pages.delete(asked.page);
      await page.context().close();
      return {};
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const answered = await answer(JSON.parse(line) as Asked).catch((error: unknown) => ({ error: String(error) }));
  console.log(JSON.stringify(answered));
}
await browser.close();
