/**
 * What many sessions take, each to a VM of its own: 70 % show a VM that does nothing, 20 % one in which somebody types, and 10 % one
 * whose text scrolls. Three QEMUs stand for all of these VMs; for the proxy each session is another VM with a line of its own.
 */

import { randomUUID } from 'node:crypto';

import { WebSocket } from 'ws';

import { Guest } from '../../../../../console-proxy/viewer/tests/browser/guest.ts';
import { Podzol } from '../contestant.ts';
import type { Row } from '../table.ts';
import { cpu, memory } from '../usage.ts';
import { Viewer } from '../viewer.ts';
import { wait } from '../world.ts';
import type { World } from '../world.ts';

const KINDS = ['idle', 'idle', 'typing', 'idle', 'idle', 'scroll', 'idle', 'typing', 'idle', 'idle'] as const;

/** How long what they take is measured. */
const SECONDS = 20;

/** Connections from one address. */
const OF_ADDRESS = 20;

/** Pages of noVNC, of which each takes the same. */
const NOVNC_PAGES = 20;

export async function sessions(world: World, count: number): Promise<Row[]> {
  const guests = { idle: new Guest(), typing: new Guest(), scroll: new Guest() };
  const podzol = new Podzol();
  const viewers: Viewer[] = [];
  try {
    for (const [kind, guest] of Object.entries(guests)) {
      await guest.start();
      await guest.begin(kind === 'scroll' ? 'scroll' : 'typing', 3, 100_000_000, kind === 'idle' ? 'holds' : 'goes on');
    }
    await podzol.start(guests.idle.port);
    await wait(1000);
    const empty = memory(podzol.pids());
    for (let number = 0; number < count; number += 1) {
      viewers.push(await session(podzol, guests[KINDS[number % KINDS.length] ?? 'idle'].port, number));
    }
    await wait(8000);
    const before = cpu(podzol.pids());
    const bytes = viewers.reduce((sum, viewer) => sum + viewer.bytes, 0);
    await wait(SECONDS * 1000);
    const load = (cpu(podzol.pids()) - before) / 1000 / SECONDS;
    const came = viewers.reduce((sum, viewer) => sum + viewer.bytes, 0) - bytes;
    const closed = viewers.filter((viewer) => viewer.closed !== '').length;
    const full = memory(podzol.pids());
    console.log(`${count} sessions: ${full} KiB, ${empty} without any; ${load.toFixed(3)} processors; ${(came / SECONDS / 1000).toFixed(0)} KB/s; ${closed} closed`);
    const ofGib = (1 << 20) / (full / count);
    const novnc = (1 << 20) / (await memoryOfPage(world));
    return [
      { what: 'sessions for each GiB of memory', podzol: ofGib, novnc, goal: '≥ 500', holds: ofGib >= 500 && closed === 0 },
      { what: `KiB for each of ${count} sessions, all in`, podzol: full / count, novnc: (1 << 20) / novnc },
      { what: 'KiB for one more session', podzol: (full - empty) / count },
      { what: 'sessions for each processor', podzol: count / load },
    ];
  } finally {
    for (const viewer of viewers) viewer.close();
    podzol.stop();
    for (const guest of Object.values(guests)) guest.stop();
  }
}

async function session(podzol: Podzol, display: number, number: number): Promise<Viewer> {
  const [session, viewer] = [randomUUID(), new Viewer()];
  await podzol.proxy.show(display, { vm: randomUUID() }, session);
  const address = `127.0.3.${1 + Math.floor(number / OF_ADDRESS)}`;
  await viewer.open(podzol.port, podzol.proxy.origin(), podzol.proxy.ticket(session), address);
  return viewer;
}

/** KiB that websockify takes for each page, all in. */
async function memoryOfPage({ novnc }: World): Promise<number> {
  const sockets = Array.from({ length: NOVNC_PAGES }, () => {
    return new WebSocket(`wss://127.0.0.1:${novnc.port}/websockify`, ['binary'], { rejectUnauthorized: false });
  });
  // QEMU says the first word.
  await Promise.all(sockets.map((socket) => new Promise((resolve, reject) => void socket.once('message', resolve).once('error', reject))));
  const all = memory(novnc.pids());
  for (const socket of sockets) socket.terminate();
  return all / NOVNC_PAGES;
}
