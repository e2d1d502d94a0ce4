/** How long it takes from opening a link until the page shows the display as it is, to the pixel. */

import type { Page } from 'playwright-core';

import { hashOf } from '../../../../../console-proxy/viewer/tests/browser/watch.ts';
import type { Contestant } from '../contestant.ts';
import { median, percentile, shown } from '../numbers.ts';
import type { Row } from '../table.ts';
import { inTurn, open, wait } from '../world.ts';
import type { World } from '../world.ts';

const ROUND_TRIPS = [0, 100];

/** A desktop with a window, and a photograph. */
const PICTURES = ['drag', 'photo'];

/** After so many milliseconds a page that was closed is forgotten, and nothing is left of the line to its display. */
const FORGOTTEN = 22_000;

/** The longest that is waited for, in milliseconds. */
const PATIENCE = 15_000;

export async function first(world: World, rounds: number): Promise<Row[]> {
  const all = new Map<string, number[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const picture of PICTURES) {
      await world.guest.begin(picture, 3 + round, 1_000_000, 'holds');
      const wanted = hashOf(await world.guest.screen());
      for (const roundTrip of ROUND_TRIPS) {
        for (const contestant of inTurn(world, round)) {
          const took = await untilExact(world, contestant, roundTrip, wanted);
          const key = `${contestant.name} ${picture} ${roundTrip}`;
          console.log(`first ${key} ms: ${shown(took)} ms`);
          all.set(key, [...(all.get(key) ?? []), took]);
        }
        await wait(FORGOTTEN);
      }
      world.guest.go();
      await world.guest.end();
    }
  }
  return PICTURES.flatMap((picture) =>
    ROUND_TRIPS.flatMap((roundTrip) => {
      const of = (name: string) => all.get(`${name} ${picture} ${roundTrip}`) ?? [];
      const what = `a link opened to ${picture === 'drag' ? 'a desktop' : 'a photograph'} that is exact, ${roundTrip} ms added, ms`;
      const slowest = percentile(of('Podzol'), 1);
      return [
        { what: `${what}, median`, podzol: median(of('Podzol')), novnc: median(of('noVNC')) },
        { what: `${what}, slowest`, podzol: slowest, novnc: percentile(of('noVNC'), 1), goal: '< 2000', holds: slowest < 2000 },
      ];
    }),
  );
}

/** In a browser without a cache or a cookie: milliseconds, the answer's way from the page included. Infinite if it never is. */
async function untilExact(world: World, contestant: Contestant, roundTrip: number, wanted: string): Promise<number> {
  const { page, begun, close } = await open(world, contestant, { roundTrip });
  const isExact = await isSoon(page, contestant.canvas, wanted);
  const took = performance.now() - begun;
  await close();
  return isExact ? took : Infinity;
}

function isSoon(page: Page, selector: string, wanted: string): Promise<boolean> {
  return page.evaluate(
    async ({ selector, wanted, patience }) => {
      for (const end = performance.now() + patience; performance.now() < end; ) {
        const canvas = document.querySelector<HTMLCanvasElement>(selector);
        if (canvas && canvas.width > 0 && canvas.height > 0) {
          const data = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? new Uint8ClampedArray();
          const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', data));
          const hex = Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
          if (`${canvas.width}x${canvas.height} ${hex}` === wanted) return true;
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return false;
    },
    { selector, wanted, patience: PATIENCE },
  );
}
