/** What is seen on a page's canvas, from when to when, and how near it is to another picture. */

import { createHash } from 'node:crypto';

import type { Page } from 'playwright-core';

declare global {
  interface Window {
    /** Is called with what was drawn on, once all that belongs together has been drawn. */
    drawn?: ((canvas: HTMLCanvasElement) => void) | undefined;
    taken?: { at: number; picture: ImageData }[];
  }
}

/** Has a page tell of what it draws. To be called before it is opened. */
export async function watch(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const context = CanvasRenderingContext2D.prototype;
    const drawn = new Set<HTMLCanvasElement>();
    for (const name of ['drawImage', 'fillRect', 'putImageData'] as const) {
      const draw = context[name] as (...args: unknown[]) => void;
      Object.defineProperty(context, name, {
        value(this: CanvasRenderingContext2D, ...args: unknown[]) {
          draw.apply(this, args);
          const { canvas } = this;
          if (!window.drawn || !canvas.isConnected || drawn.has(canvas)) return;
          drawn.add(canvas);
          queueMicrotask(() => {
            drawn.delete(canvas);
            window.drawn?.(canvas);
          });
        },
      });
    }
  });
}

/** The hash of what is on the canvas. */
export function hashSeen(page: Page): Promise<string> {
  return page.evaluate(async () => {
    const canvas = document.querySelector<HTMLCanvasElement>('#picture');
    const data = canvas?.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? new Uint8ClampedArray();
    const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', data));
    return `${canvas?.width}x${canvas?.height} ${Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
  });
}

/** A picture as QEMU has it. */
export interface Screen {
  readonly width: number;
  readonly height: number;
  /** Red, green and blue of all pixels. */
  readonly samples: Buffer;
}

/** The hash of a picture, as that of a canvas with it. */
export function hashOf({ width, height, samples }: Screen): string {
  const data = Buffer.alloc(width * height * 4, 255);
  for (let pixel = 0; pixel < width * height; pixel += 1) samples.copy(data, pixel * 4, pixel * 3, pixel * 3 + 3);
  return `${width}x${height} ${createHash('sha256').update(data).digest('hex')}`;
}

/** Notes from now on each picture that the page shows. */
export async function note(page: Page): Promise<void> {
  await page.evaluate(() => {
    const taken: { at: number; picture: ImageData }[] = [];
    const take = (canvas: HTMLCanvasElement): void => {
      const picture = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height);
      if (picture) taken.push({ at: performance.now(), picture });
    };
    window.taken = taken;
    window.drawn = take;
    const canvas = document.querySelector<HTMLCanvasElement>('#picture');
    if (canvas) take(canvas);
  });
}

export interface Near {
  /** Decibels over the whole picture; null if it was exact. */
  readonly psnr: number | null;
  /** The same of only those tiles of 16x16 pixels that were not exact. */
  readonly ofThose: number | null;
  /** How many those were. */
  readonly tiles: number;
}

/** For how many milliseconds a picture is seen that nothing more of what moved will change. */
const STANDS = 300;

/**
 * How near the first noted picture that stood was to QEMU's, or the last one before the page was exact. Fails if the page does not become
 * exact.
 */
export async function nearest(page: Page, screen: Screen, which: 'first' | 'last'): Promise<Near> {
  const args = { ...screen, samples: screen.samples.toString('base64'), stands: STANDS, isFirst: which === 'first' };
  const near = await page.evaluate(async ({ width, height, samples, stands, isFirst }) => {
    const wanted = Uint8Array.from(atob(samples), (character) => character.charCodeAt(0));
    /** How far the samples are from what they should be, squared and summed, for each tile. */
    const errors = ({ data, width: wide, height: high }: ImageData): Map<number, number> => {
      const wrong = new Map<number, number>();
      // One of another size is as wrong as can be.
      if (wide !== width || high !== height) return new Map([[0, 255 * 255 * width * height * 3]]);
      for (let pixel = 0; pixel < width * height; pixel += 1) {
        for (let part = 0; part < 3; part += 1) {
          const by = (data[pixel * 4 + part] ?? 0) - (wanted[pixel * 3 + part] ?? 0);
          if (by === 0) continue;
          const tile = Math.floor(pixel / width / 16) * 1000 + Math.floor((pixel % width) / 16);
          wrong.set(tile, (wrong.get(tile) ?? 0) + by * by);
        }
      }
      return wrong;
    };
    const decibels = (sum: number, pixels: number): number => 10 * Math.log10((255 * 255 * pixels * 3) / sum);
    const taken = window.taken ?? [];
    const states: { wrong: Map<number, number>; at: number }[] = [];
    for (const patience = performance.now() + 10_000; performance.now() < patience; ) {
      for (const { at, picture } of taken.splice(0)) states.push({ wrong: errors(picture), at });
      if (states.at(-1)?.wrong.size === 0) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    window.drawn = undefined;
    if (states.at(-1)?.wrong.size !== 0) return { failed: `${states.at(-1)?.wrong.size} tiles stay wrong` };
    const until = (number: number): number => states[number + 1]?.at ?? Infinity;
    const stood = states.filter(({ at, wrong }, number) => until(number) - at >= stands && (isFirst || wrong.size > 0));
    const { wrong } = stood.at(isFirst ? 0 : -1) ?? { wrong: new Map<number, number>() };
    if (wrong.size === 0) return { psnr: null, ofThose: null, tiles: 0 };
    const sum = [...wrong.values()].reduce((sum, one) => sum + one, 0);
    return { psnr: decibels(sum, width * height), ofThose: decibels(sum, wrong.size * 256), tiles: wrong.size };
  }, args);
  if ('failed' in near) throw new Error(near.failed);
  return near;
}
