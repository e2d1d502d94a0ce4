/**
 * Where pixels are: the canvas that is seen, and others for the cache.
 *
 * ## Design notes
 *
 * - All pixels stay in canvases and are moved by `drawImage`. Kept in an array and painted by `putImageData`, they would have to be
 *   read back from decoded images: browsers that guard against fingerprints put noise into what is read.
 * - The cache is a few canvases and not one: a canvas that is drawn elsewhere and then written to is copied as a whole by the
 *   browser, and a body writes to few of them.
 */

import { TILE } from '../body/grid.ts';
import type { Grid, Place } from '../body/grid.ts';
import { CACHE_SLOTS } from '../body/lru.ts';
import type { Copy, Hits, Image, Stripe } from '../body/update.ts';

/** What a picture is painted on. Tiles may reach past the desktop; what is outside is not kept. */
export interface Surface<Decoded> {
  /** An image that can be painted. Fails if it is broken. */
  decode(image: Image, stripe: Stripe): Promise<Decoded> | Decoded;
  /** Gets another size, all black. */
  desktop(grid: Grid): void;
  copy(copy: Copy): void;
  fill(colour: number, tiles: readonly number[]): void;
  hits(hits: Hits): void;
  /** Paints the tiles of an image, and keeps each in the slot that is told for it. */
  stripe(stripe: Stripe, image: Decoded, slots: readonly number[]): void;
  /** The image is no longer needed. */
  release(image: Decoded): void;
}

type Source = ImageBitmap | HTMLCanvasElement;

/** Tiles in a row of a page of the cache, and in a page. */
const PAGE_COLUMNS = 16;
const PAGE_SLOTS = 256;

/** A surface that is seen. */
export class CanvasSurface implements Surface<Source> {
  readonly canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  readonly #pages: CanvasRenderingContext2D[] = [];
  #columns = 0;

  constructor(canvas: HTMLCanvasElement) {
    this.canvas = canvas;
    this.#context = contextOf(canvas);
  }

  decode(image: Image, stripe: Stripe): Promise<Source> | Source {
    return image.kind === 'pixels' ? sheet(image.pixels, stripe.columns * TILE) : this.#bitmap(image, stripe);
  }

  async #bitmap(image: Exclude<Image, { kind: 'pixels' }>, stripe: Stripe): Promise<Source> {
    const blob = new Blob([image.bytes as Uint8Array<ArrayBuffer>], { type: `image/${image.kind}` });
    const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
    const rows = Math.ceil(stripe.tiles.length / stripe.columns);
    if (bitmap.width !== stripe.columns * TILE || bitmap.height !== rows * TILE) throw new Error('it has another size');
    return bitmap;
  }

  desktop({ size, columns }: Grid): void {
    this.#columns = columns;
    // A canvas without pixels cannot be drawn.
    this.canvas.width = Math.max(size.width, 1);
    this.canvas.height = Math.max(size.height, 1);
    this.#context.imageSmoothingEnabled = false;
    this.#context.fillStyle = '#000';
    this.#context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  copy({ x, y, width, height, right, down }: Copy): void {
    if (width === 0 || height === 0) return;
    this.#context.drawImage(this.canvas, x - right, y - down, width, height, x, y, width, height);
  }

  fill(colour: number, tiles: readonly number[]): void {
    this.#context.fillStyle = `#${colour.toString(16).padStart(6, '0')}`;
    for (const [tile, length] of runs(tiles, this.#columns)) {
      const { x, y } = this.#place(tile);
      this.#context.fillRect(x, y, length * TILE, TILE);
    }
  }

  hits({ tiles, slots }: Hits): void {
    const pages = new Map<CanvasRenderingContext2D, number[]>();
    tiles.forEach((_, number) => {
      const page = this.#page(slots[number] ?? 0);
      const numbers = pages.get(page);
      if (numbers) numbers.push(number);
      else pages.set(page, [number]);
    });
    for (const [page, numbers] of pages) {
      const moves = numbers.map((number) => ({ from: inPage(slots[number] ?? 0), to: this.#place(tiles[number] ?? 0) }));
      draw(this.#context, page.canvas, moves);
    }
  }

  stripe(stripe: Stripe, image: Source, slots: readonly number[]): void {
    const moves = stripe.tiles.map((tile, number) => ({ from: placeIn(number, stripe.columns), to: this.#place(tile) }));
    draw(this.#context, image, moves);
    for (let start = 0, end = 0; start < slots.length; start = end) {
      const page = this.#page(slots[start] ?? 0);
      while (end < slots.length && this.#page(slots[end] ?? 0) === page) end += 1;
      const kept = slots.slice(start, end).map((slot, at) => ({ from: placeIn(start + at, stripe.columns), to: inPage(slot) }));
      draw(page, image, kept);
    }
  }

  release(image: Source): void {
    if ('close' in image) image.close();
  }

  #place(tile: number): Place {
    return placeIn(tile, this.#columns);
  }

  /** The part of the cache in which a slot is. */
  #page(slot: number): CanvasRenderingContext2D {
    const number = Math.floor(Math.min(slot, CACHE_SLOTS - 1) / PAGE_SLOTS);
    return (this.#pages[number] ??= contextOf(canvasOf(PAGE_COLUMNS * TILE, (PAGE_SLOTS / PAGE_COLUMNS) * TILE)));
  }
}

/** Neighbours within a row of tiles, as the first one and how many they are. */
export function* runs(tiles: readonly number[], columns: number): Generator<[number, number]> {
  let start = 0;
  for (let at = 1; at <= tiles.length; at += 1) {
    const [tile, before] = [tiles[at], tiles[at - 1] ?? 0];
    if (tile === before + 1 && tile % columns !== 0) continue;
    yield [tiles[start] ?? 0, at - start];
    start = at;
  }
}

/** A tile of a source, and where it belongs. */
interface Move {
  readonly from: Place;
  readonly to: Place;
}

/** Draws tiles, neighbours in both places at once: a whole picture would be thousands of calls. */
function draw(to: CanvasRenderingContext2D, source: Source, moves: readonly Move[]): void {
  let start = 0;
  for (let at = 1; at <= moves.length; at += 1) {
    const [first, move] = [moves[start], moves[at]];
    if (!first) return;
    const width = (at - start) * TILE;
    const goes = (one: Place, other: Place | undefined): boolean => other?.y === one.y && other.x === one.x + width;
    if (goes(first.from, move?.from) && goes(first.to, move?.to)) continue;
    to.drawImage(source, first.from.x, first.from.y, width, TILE, first.to.x, first.to.y, width, TILE);
    start = at;
  }
}

function inPage(slot: number): Place {
  return placeIn(slot % PAGE_SLOTS, PAGE_COLUMNS);
}

function placeIn(number: number, columns: number): Place {
  return { x: (number % columns) * TILE, y: Math.floor(number / columns) * TILE };
}

/** Pixels as something that can be drawn. */
function sheet(pixels: Uint8ClampedArray<ArrayBuffer>, width: number): HTMLCanvasElement {
  const image = new ImageData(pixels, width);
  const canvas = canvasOf(image.width, image.height);
  contextOf(canvas).putImageData(image, 0, 0);
  return canvas;
}

function canvasOf(width: number, height: number): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

function contextOf(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const context = canvas.getContext('2d', { alpha: false, colorSpace: 'srgb' });
  if (!context) throw new Error('this browser has no canvas');
  context.imageSmoothingEnabled = false;
  return context;
}
