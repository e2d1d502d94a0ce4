/**
 * The order in which slots of the tile cache were used, which both sides keep by the same rule (`FORMAT.md`, "The cache"):
 *
 * - A use makes a slot the newest.
 * - A new tile gets the lowest slot that was never used; if there is none, the oldest one. That makes it the newest.
 */

/** Slots of a cache. */
export const CACHE_SLOTS = 4096;

/** The ring's place between the newest and the oldest slot. */
const HEAD = CACHE_SLOTS;

/** A ring of slots, from the newest to the oldest and back through its head. */
export class Lru {
  readonly #newer = new Uint16Array(CACHE_SLOTS + 1);
  readonly #older = new Uint16Array(CACHE_SLOTS + 1);
  #used = 0;

  constructor() {
    this.clear();
  }

  /** How many slots are in use. */
  get used(): number {
    return this.#used;
  }

  clear(): void {
    this.#used = 0;
    this.#newer[HEAD] = HEAD;
    this.#older[HEAD] = HEAD;
  }

  /** Makes a slot in use the newest. */
  touch(slot: number): void {
    const newer = this.#newer[slot] ?? HEAD;
    const older = this.#older[slot] ?? HEAD;
    this.#older[newer] = older;
    this.#newer[older] = newer;
    this.#insert(slot);
  }

  /** The slot of a new tile. */
  claim(): number {
    if (this.#used === CACHE_SLOTS) {
      const oldest = this.#newer[HEAD] ?? HEAD;
      this.touch(oldest);
      return oldest;
    }
    const slot = this.#used;
    this.#used += 1;
    this.#insert(slot);
    return slot;
  }

  /** Puts a slot behind the head. */
  #insert(slot: number): void {
    const newest = this.#older[HEAD] ?? HEAD;
    this.#newer[slot] = HEAD;
    this.#older[slot] = newest;
    this.#newer[newest] = slot;
    this.#older[HEAD] = slot;
  }
}
