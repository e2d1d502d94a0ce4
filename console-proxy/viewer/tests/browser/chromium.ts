/** The Chromium of this machine (Debian's `chromium`), without a window. */

import { existsSync } from 'node:fs';

import { chromium } from 'playwright-core';
import type { Browser, Page } from 'playwright-core';

import { hash } from '../corpus.ts';

const EXECUTABLE = process.env['PODZOL_CHROMIUM'] ?? '/usr/bin/chromium';

/** A browser, with some more arguments if need be. */
export function launch(more: readonly string[] = []): Promise<Browser> {
  if (!existsSync(EXECUTABLE)) throw new Error(`${EXECUTABLE} is missing: apt-get install chromium`);
  return chromium.launch({ executablePath: EXECUTABLE, args: ['--no-sandbox', '--disable-gpu', '--ignore-certificate-errors', ...more] });
}

/**
 * Has a page load a link. On a machine with more to do than processors a browser's own first connection may fail, or not get on for
 * half a minute; who sits in front of it loads the page again, so it is told and tried once more. All after that has one try.
 */
export async function visit(page: Page, link: string): Promise<void> {
  try {
    await page.goto(link);
  } catch (error) {
    console.log('the page is loaded once more after:', error);
    await page.goto(link);
  }
}

export interface Seen {
  readonly width: number;
  readonly height: number;
  /** Red, green, blue, 255, row by row. */
  readonly samples: Buffer;
}

/** What is on the page's canvas. */
export async function seen(page: Page): Promise<Seen> {
  const { width, height, text } = await page.evaluate(() => {
    const canvas = document.querySelector<HTMLCanvasElement>('#picture');
    const { width = 0, height = 0 } = canvas ?? {};
    const data = canvas?.getContext('2d')?.getImageData(0, 0, width, height).data ?? new Uint8ClampedArray();
    let text = '';
    for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode(...data.subarray(at, at + 0x8000));
    return { width, height, text: btoa(text) };
  });
  return { width, height, samples: Buffer.from(text, 'base64') };
}

/** The hash of what is seen, as the goldens have it. */
export async function seenHash(page: Page): Promise<string> {
  const { samples } = await seen(page);
  return hash(samples.filter((_, at) => at % 4 !== 3));
}

/** What a page has complained about. */
export function complaints(page: Page): string[] {
  const said: string[] = [];
  page.on('pageerror', (error) => said.push(`error: ${error.message}`));
  page.on('console', (message) => {
    // Chromium tells of each answer that is an error, and of sockets that could not be opened.
    if (message.type() === 'error' && !/Failed to load resource|WebSocket connection|net::ERR/.test(message.text())) said.push(message.text());
  });
  return said;
}
