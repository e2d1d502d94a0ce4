/** From a key to its pixel, as the page has both. */

import type { Page } from 'playwright-core';

import { percentile, shown } from '../numbers.ts';
import type { Row } from '../table.ts';
import { exact, inTurn, open, wait } from '../world.ts';
import type { World } from '../world.ts';

/** In the midst of the block that changes. */
const PIXEL = [176, 112] as const;

/** Keys for each contestant's turn. */
const KEYS_OF_TURN = 50;

export async function keys(world: World, count: number): Promise<Row[]> {
  const times = new Map<string, number[]>();
  for (let round = 0; round * KEYS_OF_TURN < count; round += 1) {
    for (const contestant of inTurn(world, round)) {
      const { page, close } = await open(world, contestant);
      await world.guest.begin('key', 7, 1_000_000);
      await exact(world, contestant, page);
      await page.focus(contestant.canvas);
      const found: number[] = [];
      for (let key = 0; key < Math.min(KEYS_OF_TURN, count); key += 1) {
        await wait(150 + Math.random() * 500);
        const seen = seenAfterKey(page, PIXEL);
        await seen.armed;
        await page.keyboard.down('a');
        await wait(90);
        await page.keyboard.up('a');
        found.push(await seen.milliseconds);
      }
      times.set(contestant.name, [...(times.get(contestant.name) ?? []), ...found]);
      console.log(`key ${contestant.name}: ${[0.5, 0.9, 0.99].map((part) => shown(percentile(found, part))).join(' / ')} ms`);
      await world.guest.end();
      await close();
    }
  }
  const of = (part: number) => ({ podzol: percentile(times.get('Podzol') ?? [], part), novnc: percentile(times.get('noVNC') ?? [], part) });
  const [half, most, slowest] = [of(0.5), of(0.9), of(0.99)];
  return [
    { what: 'key to pixel, ms, p50', ...half, goal: '≤ 25, ≤ 1/3', holds: half.podzol <= 25 && half.podzol <= half.novnc / 3 },
    { what: 'key to pixel, ms, p90', ...most },
    { what: 'key to pixel, ms, p99', ...slowest, goal: '≤ noVNC', holds: slowest.podzol <= slowest.novnc },
  ];
}

/** Waits for the next key that the page hears, and then for another colour of the pixel. */
function seenAfterKey(page: Page, [x, y]: readonly [number, number]): { armed: Promise<unknown>; milliseconds: Promise<number> } {
  const armed = page.evaluate(
    ([x, y]) => {
      const colour = (canvas: HTMLCanvasElement): number => {
        const [red = 0, green = 0, blue = 0] = canvas.getContext('2d')?.getImageData(x, y, 1, 1).data ?? [];
        return (red << 16) | (green << 8) | blue;
      };
      const canvas = document.querySelector<HTMLCanvasElement>('#picture, #screen canvas');
      const before = canvas ? colour(canvas) : 0;
      let pressed = 0;
      window.addEventListener('keydown', () => (pressed = performance.now()), { capture: true, once: true });
      window.result = new Promise((resolve) => {
        window.drawn = (canvas) => {
          if (pressed === 0 || colour(canvas) === before) return;
          window.drawn = undefined;
          resolve(performance.now() - pressed);
        };
        setTimeout(() => resolve(10_000), 10_000);
      });
    },
    [x, y] as const,
  );
  return { armed, milliseconds: armed.then(() => page.evaluate(() => window.result ?? NaN)) };
}

declare global {
  interface Window {
    result?: Promise<number>;
  }
}
