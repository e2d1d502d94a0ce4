/**
 * A viewer's picture: bodies in, pixels out.
 *
 * - Bodies are applied one at a time, in the order in which they are given.
 * - **A body is applied as a whole or not at all**: it is read and its images are decoded before anything is painted. All the
 *   same only one that begins anew is taken after one that was broken, as `FORMAT.md` wants it.
 * - A body without images to be decoded is painted at once, before `apply` returns: what is typed is seen a turn earlier.
 */

import { BodyError } from '../body/error.ts';
import { Grid } from '../body/grid.ts';
import { Lru } from '../body/lru.ts';
import { Reader } from '../body/reader.ts';
import { head, update } from '../body/update.ts';
import type { Cursor, Head, Update } from '../body/update.ts';
import type { Surface } from './surface.ts';

/**
 * What became of a body: the picture is another (`new`); it had been applied before (`old`); or it comes after another update
 * than the one that is here, and nothing has changed (`out-of-order`).
 */
export type Applied = 'new' | 'old' | 'out-of-order';

/** What is to be told of a picture. */
export interface PictureEvents {
  /** The desktop has another size. */
  resized(grid: Grid): void;
  /** The cursor has another shape; null if there is none to be seen. */
  cursor(cursor: Cursor | null): void;
}

export class Picture<Decoded> {
  readonly #surface: Surface<Decoded>;
  readonly #events: PictureEvents;
  readonly #lru = new Lru();
  #grid = new Grid({ width: 0, height: 0 });
  #number = 0;
  #epoch = 0;
  #busy: Promise<unknown> | undefined;

  constructor(surface: Surface<Decoded>, events: PictureEvents) {
    this.#surface = surface;
    this.#events = events;
  }

  /** The number of the last update that was applied; 0 if all must begin anew. */
  get number(): number {
    return this.#number;
  }

  /** Forgets the number: another viewer counts anew. The picture stays until its first update, and what is still on its way to it
   * is of no use any more. */
  forget(): void {
    this.#number = 0;
    this.#epoch += 1;
  }

  /** Applies a body after those that were given before. Fails with a `BodyError` if it is broken. */
  apply(body: Uint8Array): Promise<Applied> {
    const epoch = this.#epoch;
    const turn = this.#busy ? this.#busy.then(() => this.#apply(body, epoch)) : this.#apply(body, epoch);
    const settled = turn.then(
      () => undefined,
      () => undefined,
    );
    this.#busy = settled;
    void settled.then(() => {
      if (this.#busy === settled) this.#busy = undefined;
    });
    return turn;
  }

  async #apply(body: Uint8Array, epoch: number): Promise<Applied> {
    if (epoch !== this.#epoch) return 'old';
    const reader = new Reader(body);
    const of = head(reader);
    const fit = this.#fit(of);
    if (fit !== 'new') return fit;
    // Until all of it is applied there is nothing to go on from.
    this.#number = 0;
    const read = update(of, reader, this.#grid, this.#lru.used);
    const decoding = read.stripes.map((stripe) => this.#surface.decode(stripe.image, stripe));
    const waits = decoding.some((image) => image instanceof Promise);
    const images = waits ? await decoded(decoding, this.#surface) : (decoding as Decoded[]);
    const isOld = epoch !== this.#epoch;
    if (!isOld) this.#paint(read, images);
    for (const image of images) this.#surface.release(image);
    if (isOld) return 'old';
    this.#number = read.number;
    return 'new';
  }

  /** What a body would be, by its number. */
  #fit({ number, base }: Head): Applied {
    if (this.#number > 0 && number <= this.#number) return 'old';
    return base !== undefined && (this.#number === 0 || base !== this.#number) ? 'out-of-order' : 'new';
  }

  #paint(read: Update, images: readonly Decoded[]): void {
    if (read.fresh) this.#lru.clear();
    if (read.desktop) {
      this.#grid = read.desktop;
      this.#surface.desktop(read.desktop);
    }
    for (const copy of read.copies) this.#surface.copy(copy);
    for (const { colour, tiles } of read.fills) this.#surface.fill(colour, tiles);
    for (const slot of read.hits.slots) this.#lru.touch(slot);
    this.#surface.hits(read.hits);
    read.stripes.forEach((stripe, number) => {
      const slots = stripe.exact ? stripe.tiles.map(() => this.#lru.claim()) : [];
      this.#surface.stripe(stripe, images[number] as Decoded, slots);
    });
    for (const slot of read.repeats.slots) this.#lru.touch(slot);
    this.#surface.hits(read.repeats);
    if (read.desktop) this.#events.resized(read.desktop);
    if (read.cursor !== undefined) this.#events.cursor(read.cursor);
  }
}

/** All images, or the first one's failure. */
async function decoded<Decoded>(
  decoding: readonly (Promise<Decoded> | Decoded)[],
  surface: Surface<Decoded>,
): Promise<Decoded[]> {
  const results = await Promise.allSettled(decoding);
  const images = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed) {
    for (const image of images) surface.release(image);
    const reason = failed.reason instanceof Error ? failed.reason.message : String(failed.reason);
    throw new BodyError('image', `an image is broken: ${reason}`, { cause: failed.reason });
  }
  return images;
}
