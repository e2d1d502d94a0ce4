/** How late a change is seen that a VM makes by itself after it was quiet. */

import type { Page } from 'playwright-core';

import { percentile, shown } from '../numbers.ts';
import type { Row } from '../table.ts';
import { exact, inTurn, open } from '../world.ts';
import type { World } from '../world.ts';

/** Changes of each contestant's turn: each takes 5.2 s. */
const CHANGES_OF_TURN = 10;

export async function quiet(world: World, count: number): Promise<Row[]> {
  const times = new Map<string, number[]>();
  for (let round = 0; round * CHANGES_OF_TURN < count; round += 1) {
    for (const contestant of inTurn(world, round)) {
      const { page, close } = await open(world, contestant);
      await world.guest.begin('quiet', 3 + round, 1_000_000);
      await exact(world, contestant, page);
      const found: number[] = [];
      for (let change = 0; change < Math.min(CHANGES_OF_TURN, count); change += 1) {
        const seen = nextDrawn(page);
        await world.guest.until(/^step/);
        const told = performance.timeOrigin + performance.now();
        const { at, offset } = await seen;
        found.push(at - offset - told);
      }
      times.set(contestant.name, [...(times.get(contestant.name) ?? []), ...found]);
      console.log(`quiet ${contestant.name}: ${found.map(shown).join(' ')} ms`);
      await world.guest.end();
      await close();
    }
  }
  const of = (part: number) => ({ podzol: percentile(times.get('Podzol') ?? [], part), novnc: percentile(times.get('noVNC') ?? [], part) });
  const slowest = of(0.99);
  return [
    { what: 'a change after 5 s of quiet, ms, p50', ...of(0.5) },
    { what: 'a change after 5 s of quiet, ms, p99', ...slowest, goal: '≤ 100', holds: slowest.podzol <= 100 },
  ];
}

/** When the page draws the next time, by its clock, and how far that is from this program's. */
async function nextDrawn(page: Page): Promise<{ at: number; offset: number }> {
  const drawn = page.evaluate(
    () =>
      new Promise<number>((resolve) => {
        window.drawn = () => {
          window.drawn = undefined;
          resolve(performance.timeOrigin + performance.now());
        };
      }),
  );
  let [offset, least] = [0, Infinity];
  for (let ask = 0; ask < 20; ask += 1) {
    const before = performance.now();
    const there = await page.evaluate(() => performance.timeOrigin + performance.now());
    const took = performance.now() - before;
    if (took < least) [offset, least] = [there - (performance.timeOrigin + before + took / 2), took];
  }
  return { at: await drawn, offset };
}
