/** How many different pictures a second a page shows over a long line, of a block that changes 60 times a second. */

import { median, shown } from '../numbers.ts';
import type { Row } from '../table.ts';
import type { Contestant } from '../contestant.ts';
import { inTurn, open, wait } from '../world.ts';
import type { World } from '../world.ts';

const ROUND_TRIPS = [0, 20, 100, 200];
const SECONDS = 6;

/** Podzol's other ways, for knowledge. */
const WAYS = ['stream', 'poll'];

export async function updates(world: World, rounds: number): Promise<Row[]> {
  const all = new Map<string, number[]>();
  const take = async (contestant: Contestant, roundTrip: number, way = ''): Promise<void> => {
    const found = await picturesInASecond(world, contestant, roundTrip, way);
    const key = `${contestant.name}${way} ${roundTrip}`;
    console.log(`pulse ${key} ms: ${shown(found)} a second`);
    all.set(key, [...(all.get(key) ?? []), found]);
  };
  for (let round = 0; round < rounds; round += 1) {
    for (const roundTrip of ROUND_TRIPS) {
      for (const contestant of inTurn(world, round)) await take(contestant, roundTrip);
      for (const way of WAYS) await take(world.podzol, roundTrip, way);
    }
  }
  const of = (name: string, roundTrip: number): number => median(all.get(`${name} ${roundTrip}`) ?? []);
  return ROUND_TRIPS.flatMap((roundTrip) => {
    const [podzol, novnc] = [of('Podzol', roundTrip), of('noVNC', roundTrip)];
    const goal = roundTrip > 0 ? { goal: '≥ 2x', holds: podzol >= 2 * novnc } : {};
    const ways = WAYS.map((way) => ({ what: `the same by ${way}`, podzol: of(`Podzol${way}`, roundTrip), novnc }));
    return [{ what: `updates a second with ${roundTrip} ms added`, podzol, novnc, ...goal }, ...ways];
  });
}

async function picturesInASecond(world: World, contestant: Contestant, roundTrip: number, way: string): Promise<number> {
  const { page, close } = await open(world, contestant, { roundTrip }, way);
  await world.guest.begin('pulse', 9, 1_000_000);
  // Whatever adapts to the line has done so by then.
  await wait(2000);
  const found = await page.evaluate(
    (seconds) =>
      new Promise<number>((resolve) => {
        const seen = new Set<number>();
        window.drawn = (canvas) => {
          const [red = 0, green = 0, blue = 0] = canvas.getContext('2d')?.getImageData(176, 112, 1, 1).data ?? [];
          seen.add((red << 16) | (green << 8) | blue);
        };
        setTimeout(() => resolve(seen.size / seconds), seconds * 1000);
      }),
    SECONDS,
  );
  await world.guest.end();
  await close();
  return found;
}
