/** Bytes and processor time for scenes, and whether the page is exact once they rest. */

import { cpu } from '../usage.ts';
import { median, shown } from '../numbers.ts';
import type { Row } from '../table.ts';
import { exact, inTurn, open, wait } from '../world.ts';
import type { World } from '../world.ts';

interface Taken {
  /** KB a second to the page, and from it. */
  down: number;
  up: number;
  /** Percent of a processor: the server's, of QEMU's thread that encodes, and of all other threads of QEMU but its processor. */
  server: number;
  worker: number;
  rest: number;
  /** Pictures that the page has drawn, a second. */
  pictures: number;
}

export const SCENES = ['scroll', 'boot', 'typing', 'drag', 'video', 'photo'] as const;

/** All scenes, or only these. */
export async function bytes(world: World, rounds: number, seconds: number, only: readonly string[]): Promise<Row[]> {
  const scenes = SCENES.filter((scene) => only.length === 0 || only.includes(scene));
  const all = new Map<string, Taken[]>();
  let inexact = 0;
  for (let round = 0; round < rounds; round += 1) {
    for (const scene of scenes) {
      for (const contestant of inTurn(world, round)) {
        const { page, relay, close } = await open(world, contestant);
        await world.guest.begin(scene, 3 + round, seconds * 1000, 'holds');
        inexact += Number(!(await exact(world, contestant, page)));
        await wait(500);
        const usage = (): number[] => [
          cpu(contestant.pids()), cpu([world.guest.pid], 'vnc_worker'), cpu([world.guest.pid]) - cpu([world.guest.pid], 'CPU 0/TCG'),
          relay.passed.down, relay.passed.up,
        ];
        await page.evaluate(() => {
          window.pictures = 0;
          window.drawn = () => (window.pictures = (window.pictures ?? 0) + 1);
        });
        const [before, began] = [usage(), performance.now()];
        world.guest.go();
        await world.guest.over();
        // What comes after the last step, refined tiles among it, is in it; the time is that of the scene.
        const took = (performance.now() - began) / 1000;
        inexact += Number(!(await exact(world, contestant, page)));
        await wait(200);
        const [server = 0, worker = 0, rest = 0, down = 0, up = 0] = usage().map((now, number) => (now - (before[number] ?? 0)) / took);
        const pictures = (await page.evaluate(() => window.pictures ?? 0)) / took;
        const one = { down: down / 1000, up: up / 1000, server: server / 10, worker: worker / 10, rest: (rest - worker) / 10, pictures };
        const key = `${scene} ${contestant.name}`;
        all.set(key, [...(all.get(key) ?? []), one]);
        console.log(`${key}: ${Object.entries(one).map(([name, value]) => `${name} ${shown(value)}`).join(', ')}`);
        await close();
      }
    }
  }
  return [...scenes.flatMap((scene) => rows(scene, all)), { what: 'pictures at rest that are not exact', podzol: inexact, goal: '0', holds: inexact === 0 }];
}

declare global {
  interface Window {
    pictures?: number;
  }
}

/** Goals for bytes, from noVNC's and by themselves. */
const GOALS: Record<(typeof SCENES)[number], [string, (podzol: number, novnc: number) => boolean] | undefined> = {
  scroll: ['≤ 1/10', (podzol, novnc) => podzol <= novnc / 10],
  boot: ['≤ 1/10', (podzol, novnc) => podzol <= novnc / 10],
  typing: ['≤ noVNC', (podzol, novnc) => podzol <= novnc],
  drag: ['≤ 0.6, < 340 KB/s', (podzol, novnc) => podzol <= novnc * 0.6 && podzol < 340],
  video: ['≤ 1/6', (podzol, novnc) => podzol <= novnc / 6],
  photo: undefined,
};

function rows(scene: (typeof SCENES)[number], all: Map<string, Taken[]>): Row[] {
  const of = (name: string, what: (taken: Taken) => number): number => median((all.get(`${scene} ${name}`) ?? []).map(what));
  const both = (what: (taken: Taken) => number) => ({ podzol: of('Podzol', what), novnc: of('noVNC', what) });
  const [goal, sum] = [GOALS[scene], both(({ server, worker }) => server + worker)];
  const down = both((taken) => taken.down);
  const perPicture = both(({ server, worker, pictures }) => (server + worker) / pictures);
  return [
    { what: `${scene}: KB/s to the page`, ...down, ...(goal && { goal: goal[0], holds: goal[1](down.podzol, down.novnc) }) },
    { what: `${scene}: pictures a second`, ...both(({ pictures }) => pictures) },
    { what: `${scene}: KB/s from the page`, ...both((taken) => taken.up) },
    { what: `${scene}: % of a processor, server and QEMU's vnc_worker`, ...sum, goal: '≤ noVNC', holds: sum.podzol <= sum.novnc },
    { what: `${scene}: of it for each picture a second`, ...perPicture },
    { what: `${scene}: of it the server's`, ...both((taken) => taken.server) },
    { what: `${scene}: % of QEMU's other threads but its processor`, ...both((taken) => taken.rest) },
  ];
}
