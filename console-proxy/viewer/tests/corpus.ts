/** Chains of bodies that the stripes crate made, and what its own decoder makes of them (`stripes/tests/updates/golden.rs`). */

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the viewer. */
export const VIEWER = join(dirname(fileURLToPath(import.meta.url)), '..');

const tests = join(VIEWER, '../stripes/tests');

export const KINDS = ['copies', 'fills', 'hits', 'bits', 'png', 'jpeg', 'cursor', 'full-cache', 'moves'] as const;
/** Those without JPEG images, which no two decoders take for quite the same. */
export const EXACT: readonly Kind[] = ['fills', 'hits', 'bits', 'cursor', 'full-cache', 'moves'];
export type Kind = (typeof KINDS)[number];

/** A picture after a body: FNV-1a of all red, green and blue, row by row, and of the cursor's samples. */
export interface Golden {
  readonly width: number;
  readonly height: number;
  readonly picture: string;
  readonly cursor: string;
}

export function bodies(kind: Kind): Uint8Array[] {
  const chain = readFileSync(join(tests, kind === 'full-cache' || kind === 'moves' ? `pictures/${kind}` : `corpus/${kind}/made`));
  const found: Uint8Array[] = [];
  for (let at = 0; at < chain.length; ) {
    const length = chain.readUInt32BE(at);
    found.push(new Uint8Array(chain.subarray(at + 4, at + 4 + length)));
    at += 4 + length;
  }
  return found;
}

/** For each body of a chain, what is to be seen after it. */
export function goldens(kind: Kind): Golden[] {
  const lines = readFileSync(join(tests, 'pictures/hashes'), 'utf8').split('\n');
  return lines.flatMap((line) => {
    const [of, , width, height, picture, cursor] = line.split(' ');
    return of === kind ? [{ width: Number(width), height: Number(height), picture: picture ?? '', cursor: cursor ?? '' }] : [];
  });
}

/** FNV-1a of 32 bits, twice with different beginnings, as 16 hexadecimal digits. */
export function hash(bytes: Iterable<number>): string {
  let [one, two] = [0x811c9dc5, 0x9747b28c];
  for (const byte of bytes) {
    one = Math.imul(one ^ byte, 0x01000193);
    two = Math.imul(two ^ byte, 0x01000193);
  }
  return [one, two].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
}
