/** A surface in memory, with a PNG decoder that takes what the stripes crate writes. JPEG is left to browsers. */

import { inflateSync } from 'node:zlib';

import { TILE } from '../../src/body/grid.ts';
import type { Grid } from '../../src/body/grid.ts';
import type { Copy, Hits, Image, Stripe } from '../../src/body/update.ts';
import type { Surface } from '../../src/picture/surface.ts';

/** Rows of pixels, `0xRRGGBB` or, of cursors, `0xRRGGBBAA`. */
export interface Pixels {
  readonly width: number;
  readonly pixels: Uint32Array;
}

export class MemorySurface implements Surface<Pixels> {
  width = 0;
  height = 0;
  pixels = new Uint32Array();
  #columns = 0;
  readonly #slots: Uint32Array[] = [];

  decode(image: Image, stripe: Stripe): Pixels | Promise<Pixels> {
    if (image.kind === 'jpeg') return { width: stripe.columns * TILE, pixels: new Uint32Array() };
    if (image.kind !== 'pixels') return Promise.resolve(image.bytes).then(png);
    const { pixels } = image;
    const rgb = Uint32Array.from({ length: pixels.length / 4 }, (_, at) => {
      const [red = 0, green = 0, blue = 0] = pixels.subarray(at * 4, at * 4 + 3);
      return (red << 16) | (green << 8) | blue;
    });
    return { width: stripe.columns * TILE, pixels: rgb };
  }

  desktop({ size, columns }: Grid): void {
    this.width = size.width;
    this.height = size.height;
    this.#columns = columns;
    this.pixels = new Uint32Array(size.width * size.height);
  }

  copy({ x, y, width, height, right, down }: Copy): void {
    const before = this.pixels.slice();
    for (let row = y; row < y + height; row += 1) {
      const from = (row - down) * this.width + x - right;
      this.pixels.set(before.subarray(from, from + width), row * this.width + x);
    }
  }

  fill(colour: number, tiles: readonly number[]): void {
    for (const tile of tiles) this.#put(tile, new Uint32Array(TILE * TILE).fill(colour));
  }

  hits({ tiles, slots }: Hits): void {
    tiles.forEach((tile, at) => this.#put(tile, this.#slots[slots[at] ?? -1] ?? new Uint32Array()));
  }

  stripe(stripe: Stripe, image: Pixels, slots: readonly number[]): void {
    stripe.tiles.forEach((tile, at) => {
      const start = Math.floor(at / stripe.columns) * TILE * image.width + (at % stripe.columns) * TILE;
      const block = Uint32Array.from({ length: TILE * TILE }, (_, pixel) => {
        return image.pixels[start + Math.floor(pixel / TILE) * image.width + (pixel % TILE)] ?? 0;
      });
      this.#put(tile, block);
      const slot = slots[at];
      if (slot !== undefined) this.#slots[slot] = block;
    });
  }

  release(): void {}

  /** Red, green and blue of all pixels. */
  *bytes(): Generator<number> {
    for (const pixel of this.pixels) yield* [pixel >> 16, (pixel >> 8) & 0xff, pixel & 0xff];
  }

  #put(tile: number, block: Uint32Array): void {
    const [left, top] = [(tile % this.#columns) * TILE, Math.floor(tile / this.#columns) * TILE];
    for (let y = top; y < Math.min(top + TILE, this.height); y += 1) {
      for (let x = left; x < Math.min(left + TILE, this.width); x += 1) {
        this.pixels[y * this.width + x] = block[(y - top) * TILE + x - left] ?? 0;
      }
    }
  }
}

/** Decodes a PNG image without interlacing. */
export function png(bytes: Uint8Array): Pixels {
  const file = Buffer.from(bytes);
  const parts: Buffer[] = [];
  let palette = Buffer.alloc(0);
  for (let at = 8; at < file.length; ) {
    const length = file.readUInt32BE(at);
    const type = file.toString('latin1', at + 4, at + 8);
    const data = file.subarray(at + 8, at + 8 + length);
    if (type === 'PLTE') palette = Buffer.from(data);
    if (type === 'IDAT') parts.push(data);
    at += 12 + length;
  }
  const [width, height, depth, colours] = [file.readUInt32BE(16), file.readUInt32BE(20), file[24] ?? 8, file[25] ?? 2];
  const channels = colours === 3 ? 1 : colours === 2 ? 3 : 4;
  const rows = unfilter(inflateSync(Buffer.concat(parts)), Math.ceil((width * channels * depth) / 8), Math.ceil((channels * depth) / 8));
  const pixels = new Uint32Array(width * height);
  for (let y = 0; y < height; y += 1) {
    const row = rows[y] ?? new Uint8Array();
    for (let x = 0; x < width; x += 1) {
      const at = colours === 3 ? indexed(row, x, depth) * 3 : x * channels;
      const from = colours === 3 ? palette : row;
      const rgb = ((from[at] ?? 0) << 16) | ((from[at + 1] ?? 0) << 8) | (from[at + 2] ?? 0);
      pixels[y * width + x] = channels === 4 ? rgb * 256 + (from[at + 3] ?? 0) : rgb;
    }
  }
  return { width, pixels };
}

function indexed(row: Uint8Array, x: number, depth: number): number {
  const bit = x * depth;
  return ((row[bit >> 3] ?? 0) >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
}

function unfilter(data: Uint8Array, length: number, step: number): Uint8Array[] {
  const rows: Uint8Array[] = [];
  for (let at = 0; at < data.length; at += length + 1) {
    const row = data.slice(at + 1, at + 1 + length);
    const above = rows.at(-1) ?? new Uint8Array(length);
    for (let x = 0; x < length; x += 1) {
      const [left, up, corner] = [row[x - step] ?? 0, above[x] ?? 0, above[x - step] ?? 0];
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][data[at] ?? 0] ?? 0;
      row[x] = (row[x] ?? 0) + guess;
    }
    rows.push(row);
  }
  return rows;
}

function paeth(left: number, up: number, corner: number): number {
  const near = left + up - corner;
  const [a, b, c] = [Math.abs(near - left), Math.abs(near - up), Math.abs(near - corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}
