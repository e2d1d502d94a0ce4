/** Bytes that were typed and are not applied yet; the proxy counts those of a viewer from 0. It sends nothing itself. */

import type { Bytes } from '../line/request.ts';

/** Bytes that wait at most: what is pasted beyond them while the line is away is left out. */
const MOST = 2 ** 20;

export class Keyed {
  #bytes: Bytes = new Uint8Array();
  #first = 0;

  push(bytes: Uint8Array): void {
    const kept = bytes.subarray(0, MOST - this.#bytes.length);
    const all = new Uint8Array(this.#bytes.length + kept.length);
    all.set(this.#bytes);
    all.set(kept, this.#bytes.length);
    this.#bytes = all;
  }

  /** What comes next, and how many bytes came before. */
  next(most: number): { first: number; bytes: Bytes } | undefined {
    return this.#bytes.length === 0 ? undefined : { first: this.#first, bytes: this.#bytes.slice(0, most) };
  }

  /** So many bytes were applied in all. */
  applied(number: number): void {
    const gone = Math.min(Math.max(number - this.#first, 0), this.#bytes.length);
    this.#bytes = this.#bytes.slice(gone);
    this.#first += gone;
  }

  /** Another viewer counts from 0; what was not known to be applied is not told to it. */
  reset(): void {
    this.discard();
    this.#first = 0;
  }

  /** The proxy takes nothing from this viewer. */
  discard(): void {
    this.#bytes = new Uint8Array();
  }
}
