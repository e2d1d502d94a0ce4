/**
 * Measures Podzol's console beside noVNC 1.7 with websockify 0.13, on the same QEMU in one run. `README.md` of `tests/bench` says how.
 *
 *     bench.js [quick] [PART…] [SCENE…]        parts: first bytes keys quiet updates sessions; scenes of bytes: scroll boot typing drag video photo
 */

import { SCENES, bytes } from './parts/bytes.ts';
import { first } from './parts/first.ts';
import { keys } from './parts/keys.ts';
import { quiet } from './parts/quiet.ts';
import { sessions } from './parts/sessions.ts';
import { updates } from './parts/updates.ts';
import { table } from './table.ts';
import type { Row } from './table.ts';
import { begin, end } from './world.ts';
import type { World } from './world.ts';

const args = process.argv.slice(2);
const isQuick = args.includes('quick');
const scenes = args.filter((arg) => (SCENES as readonly string[]).includes(arg));
const wanted = args.filter((arg) => arg !== 'quick' && !scenes.includes(arg));

const PARTS: Record<string, (world: World) => Promise<Row[]>> = {
  first: (world) => first(world, isQuick ? 1 : 5),
  bytes: (world) => bytes(world, isQuick ? 1 : 3, isQuick ? 5 : 10, scenes),
  keys: (world) => keys(world, isQuick ? 20 : 200),
  quiet: (world) => quiet(world, isQuick ? 4 : 40),
  updates: (world) => updates(world, isQuick ? 1 : 3),
  sessions: (world) => sessions(world, isQuick ? 50 : 300),
};

const unknown = wanted.filter((part) => !(part in PARTS));
if (unknown.length > 0) throw new Error(`there is no part ${unknown.join(', ')}: ${Object.keys(PARTS).join(', ')}`);

const world = await begin();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void end(world).finally(() => process.exit(1)));
try {
  const rows: Row[] = [];
  for (const [name, part] of Object.entries(PARTS)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    rows.push(...(await part(world)));
  }
  console.log(`\n${table(rows)}`);
} finally {
  await end(world);
}
