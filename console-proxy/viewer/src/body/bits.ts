/** Images of kind 1: tiles of at most 16 colours, whose rows are left out if they are like the one above. */

import { TILE } from './grid.ts';
import { Reader } from './reader.ts';

const MAX_COLOURS = 16;

/** Pixels of tiles in rows of so many columns, as other images have them: each is red, green, blue and 255. */
export function bits(bytes: Uint8Array, tiles: number, columns: number): Uint8ClampedArray<ArrayBuffer> {
  const reader = new Reader(bytes);
  const colours = reader.count(MAX_COLOURS);
  const palette = new Uint32Array(MAX_COLOURS);
  for (let number = 0; number < colours; number += 1) palette[number] = opaque(reader.colour());
  const depth = colours <= 2 ? 1 : colours <= 4 ? 2 : 4;
  const width = columns * TILE;
  const pixels = new Uint32Array(width * Math.ceil(tiles / columns) * TILE);
  for (let tile = 0; tile < tiles; tile += 1) {
    const mask = reader.short();
    for (let row = 0; row < TILE; row += 1) {
      const start = (Math.floor(tile / columns) * TILE + row) * width + (tile % columns) * TILE;
      if ((mask & (0x8000 >> row)) !== 0) {
        unpack(reader.take(2 * depth), depth, palette, pixels.subarray(start, start + TILE));
      } else if (row > 0) {
        pixels.copyWithin(start, start - width, start - width + TILE);
      } else {
        pixels.fill(palette[0] ?? 0, start, start + TILE);
      }
    }
  }
  reader.end();
  return new Uint8ClampedArray(pixels.buffer);
}

function unpack(packed: Uint8Array, depth: number, palette: Uint32Array, row: Uint32Array): void {
  const mask = (1 << depth) - 1;
  for (let column = 0; column < TILE; column += 1) {
    const bit = column * depth;
    const number = ((packed[bit >> 3] ?? 0) >> (8 - depth - (bit & 7))) & mask;
    row[column] = palette[number] ?? 0;
  }
}

/** A pixel as `ImageData` has it in memory, on machines that store the lowest byte first: all that browsers run on. */
function opaque(colour: number): number {
  const red = colour >> 16;
  const green = (colour >> 8) & 0xff;
  const blue = colour & 0xff;
  return (0xff00_0000 | (blue << 16) | (green << 8) | red) >>> 0;
}
