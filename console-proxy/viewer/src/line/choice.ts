/**
 * Which way updates come by: the first of these that works. What has worked is tried first the next time.
 *
 * 1. `socket`: the fewest bytes beside the updates; something on the way may not let it through.
 * 2. `stream`: passes what passes HTTP, but not what collects responses.
 * 3. `poll`: passes everything.
 */

export const WAYS = ['socket', 'stream', 'poll'] as const;
export type WayName = (typeof WAYS)[number];

/** Failures in a row, without anything having come, after which the next way is tried, if this one has worked before. */
const PATIENCE = 2;

export class Choice {
  readonly #forced: WayName | undefined;
  #at: number;
  #worked = false;
  #failures = 0;

  /** `forced` is the only way, `known` the one that has worked before. */
  constructor(forced: WayName | undefined, known: WayName | undefined) {
    this.#forced = forced;
    this.#at = known ? WAYS.indexOf(known) : 0;
  }

  get way(): WayName {
    return this.#forced ?? WAYS[this.#at] ?? 'poll';
  }

  /** Something has come. */
  works(): void {
    this.#worked = true;
    this.#failures = 0;
  }

  /** It has ended. */
  failed(): void {
    this.#failures += 1;
    if (this.#failures < (this.#worked ? PATIENCE : 1)) return;
    this.#at = (this.#at + 1) % WAYS.length;
    this.#failures = 0;
    this.#worked = false;
  }
}

/** A way's name, from outside. */
export function wayOf(name: string | null): WayName | undefined {
  return WAYS.find((way) => way === name);
}
