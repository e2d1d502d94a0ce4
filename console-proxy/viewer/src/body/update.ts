/**
 * Bodies as `FORMAT.md` describes them: bytes in, what is to be done out.
 *
 * - **A body is read as a whole before anything is painted**, so one that is broken has changed nothing.
 * - **A proxy is not trusted.** Places are within the desktop, the desktop within a limit, images as large as their tiles; no
 *   tile is painted twice by a body.
 */

import { bits } from './bits.ts';
import { BodyError } from './error.ts';
import { Grid, Painted, TILE } from './grid.ts';
import type { Place, Size } from './grid.ts';
import { jpegHead, pngHead } from './head.ts';
import { CACHE_SLOTS } from './lru.ts';
import { Reader } from './reader.ts';

/** The version of the format, the first byte of each body. */
export const FORMAT_VERSION = 1;

/** Pixels of the largest desktop that is shown: 7680x4320 and a bit. What browsers take as a canvas is not much more. */
export const MAX_PIXELS = 2 ** 25;

/** Tiles in a row of an image that is made of bits. */
const BITS_COLUMNS = 64;

const MAX_COPIES = 64;
const MAX_CURSOR = 512;

const FRESH = 0x01;
const DESKTOP = 0x02;
const COPIES = 0x04;
const FILLS = 0x08;
const HITS = 0x10;
const STRIPES = 0x20;
const CURSOR = 0x40;
const REPEATS = 0x80;

/** What a body says of itself. */
export interface Head {
  readonly parts: number;
  readonly number: number;
  /** The update that it comes after; none if it begins anew. */
  readonly base: number | undefined;
}

/** A move within the picture. */
export interface Copy extends Place, Size {
  readonly right: number;
  readonly down: number;
}

/** Tiles of one colour, `0xRRGGBB`. */
export interface Fill {
  readonly colour: number;
  readonly tiles: readonly number[];
}

/** Tiles and the slots of the cache where their pixels are. */
export interface Hits {
  readonly tiles: readonly number[];
  readonly slots: readonly number[];
}

/** An image and where its tiles belong. */
export interface Stripe {
  readonly tiles: readonly number[];
  readonly columns: number;
  /** Whether nothing is lost, so that its tiles go into the cache. */
  readonly exact: boolean;
  readonly image: Image;
}

/** PNG and JPEG as they are, or pixels: red, green, blue, 255. */
export type Image =
  | { readonly kind: 'pixels'; readonly pixels: Uint8ClampedArray<ArrayBuffer> }
  | { readonly kind: 'png' | 'jpeg'; readonly bytes: Uint8Array };

/** A cursor's shape as PNG, and the column and row of the pixel that points. */
export interface Cursor extends Size {
  readonly png: Uint8Array;
  readonly hotspot: Place;
}

/** All that a body changes. */
export interface Update {
  readonly number: number;
  readonly fresh: boolean;
  readonly desktop: Grid | undefined;
  readonly copies: readonly Copy[];
  readonly fills: readonly Fill[];
  readonly hits: Hits;
  readonly stripes: readonly Stripe[];
  readonly repeats: Hits;
  /** Null if there is none to be seen, undefined if it stays. */
  readonly cursor: Cursor | null | undefined;
}

/** Reads what comes first in a body. */
export function head(reader: Reader): Head {
  const version = reader.byte();
  if (version !== FORMAT_VERSION) throw new BodyError('version', `version ${version} of the format is not known`);
  const parts = reader.byte();
  const number = reader.number();
  if (parts & FRESH) {
    if (!(parts & DESKTOP)) throw new BodyError('no-desktop', 'the update begins anew without a desktop');
    return { parts, number, base: undefined };
  }
  const back = reader.number();
  if (back < 1 || back > number) throw new BodyError('base', `update ${number} comes ${back} after another one`);
  return { parts, number, base: number - back };
}

/** Reads the rest of a body for a viewer with such a desktop and so many slots in use. */
export function update(of: Head, reader: Reader, have: Grid, used: number): Update {
  const has = (part: number): boolean => (of.parts & part) !== 0;
  const none: Hits = { tiles: [], slots: [] };
  const desktop = has(DESKTOP) ? newDesktop(reader) : undefined;
  const grid = desktop ?? have;
  const before = has(FRESH) ? 0 : used;
  const copies = has(COPIES) ? readCopies(reader, grid.size) : [];
  const painted = new Painted(grid);
  const fills = has(FILLS) ? readFills(reader, grid, painted) : [];
  const hits = has(HITS) ? readHits(reader, painted, before) : none;
  const stripes = has(STRIPES) ? readStripes(reader, grid, painted) : [];
  const kept = stripes.reduce((sum, stripe) => sum + (stripe.exact ? stripe.tiles.length : 0), before);
  const repeats = has(REPEATS) ? readHits(reader, painted, Math.min(kept, CACHE_SLOTS)) : none;
  const cursor = has(CURSOR) ? readCursor(reader) : has(FRESH) ? null : undefined;
  reader.end();
  return { number: of.number, fresh: has(FRESH), desktop, copies, fills, hits, stripes, repeats, cursor };
}

function newDesktop(reader: Reader): Grid {
  const size = { width: reader.side(), height: reader.side() };
  if (size.width * size.height > MAX_PIXELS) {
    throw new BodyError('too-large', `a desktop of ${size.width}x${size.height} is too large`);
  }
  return new Grid(size);
}

function readCopies(reader: Reader, size: Size): Copy[] {
  const within = (x: number, y: number, { width, height }: Size): boolean =>
    x >= 0 && y >= 0 && x + width <= size.width && y + height <= size.height;
  return Array.from({ length: reader.count(MAX_COPIES) }, () => {
    const to = { x: reader.side(), y: reader.side(), width: reader.side(), height: reader.side() };
    const copy = { ...to, right: reader.signed(), down: reader.signed() };
    if (!within(to.x, to.y, to) || !within(to.x - copy.right, to.y - copy.down, to)) {
      throw new BodyError('copy', `a copy to ${to.x}, ${to.y} leaves the desktop`);
    }
    return copy;
  });
}

function readFills(reader: Reader, grid: Grid, painted: Painted): Fill[] {
  const fills: Fill[] = [];
  for (let left = reader.count(grid.tiles); left > 0; left -= 1) {
    fills.push({ colour: reader.colour(), tiles: painted.list(reader) });
  }
  return fills;
}

function readHits(reader: Reader, painted: Painted, used: number): Hits {
  const tiles = painted.list(reader);
  let next = 0;
  const slots = tiles.map(() => {
    const slot = next + reader.signed();
    if (slot < 0 || slot >= used) throw new BodyError('slot', `nothing is in slot ${slot} of the cache`);
    next = slot + 1;
    return slot;
  });
  return { tiles, slots };
}

function readStripes(reader: Reader, grid: Grid, painted: Painted): Stripe[] {
  const stripes: Stripe[] = [];
  for (let left = reader.count(grid.tiles); left > 0; left -= 1) {
    const kind = reader.byte();
    const tiles = painted.list(reader);
    const columns = reader.count(tiles.length);
    const bytes = reader.blob();
    stripes.push(stripe(kind, tiles, columns, bytes));
  }
  return stripes;
}

function stripe(kind: number, tiles: number[], columns: number, bytes: Uint8Array): Stripe {
  const expected = { width: columns * TILE, height: Math.ceil(tiles.length / columns) * TILE };
  switch (kind) {
    case 1:
      return bitsStripe(tiles, bytes);
    case 2: {
      const found = pngHead(bytes);
      if (found.alpha) throw new BodyError('image', 'an image of tiles is transparent');
      checkSize(found, expected);
      return { tiles, columns, exact: true, image: { kind: 'png', bytes } };
    }
    case 3:
      checkSize(jpegHead(bytes), expected);
      return { tiles, columns, exact: false, image: { kind: 'jpeg', bytes } };
    default:
      throw new BodyError('kind', `images of kind ${kind} are not known`);
  }
}

/** Its tiles are laid out as browsers take images: neither side gets long. */
function bitsStripe(tiles: number[], bytes: Uint8Array): Stripe {
  const columns = Math.min(tiles.length, BITS_COLUMNS);
  return { tiles, columns, exact: true, image: { kind: 'pixels', pixels: bits(bytes, tiles.length, columns) } };
}

function checkSize(found: Size, expected: Size): void {
  if (found.width !== expected.width || found.height !== expected.height) {
    const sizes = `${found.width}x${found.height} pixels, its tiles ${expected.width}x${expected.height}`;
    throw new BodyError('image-size', `an image has ${sizes}`);
  }
}

function readCursor(reader: Reader): Cursor | null {
  const png = reader.blob();
  if (png.length === 0) return null;
  const hotspot = { x: reader.side(), y: reader.side() };
  const { width, height, alpha } = pngHead(png);
  if (Math.max(width, height) > MAX_CURSOR || hotspot.x >= width || hotspot.y >= height) {
    throw new BodyError('cursor', `a cursor of ${width}x${height} cannot be, or cannot point to ${hotspot.x}, ${hotspot.y}`);
  }
  if (!alpha) throw new BodyError('image', 'a cursor is not four bytes a pixel');
  return { png, width, height, hotspot };
}
