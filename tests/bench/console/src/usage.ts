/** What processes take, by what the kernel says (proc(5)). */

import { readFileSync, readdirSync } from 'node:fs';

/** Threads of a process. */
function threads(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map((thread) => `/proc/${pid}/task/${thread}`);
  } catch {
    return [];
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** Milliseconds of a processor that processes have taken; only threads of that name, if one is given. Threads that have ended are not in it. */
export function cpu(pids: readonly number[], name?: string): number {
  const of = pids.flatMap(threads).filter((thread) => name === undefined || read(`${thread}/comm`).trim() === name);
  return of.reduce((sum, thread) => sum + Number(read(`${thread}/schedstat`).split(' ')[0] ?? 0) / 1e6, 0);
}

/** KiB of memory, of which what is shared counts in parts. */
export function memory(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + Number(/^Pss:\s+(\d+)/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0), 0);
}
