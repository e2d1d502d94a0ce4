/**
 * Events that the proxy has not applied yet, with their numbers. It sends nothing itself.
 *
 * ```text
 *   push -> waiting --take--> under way --applied--> gone
 *              ^                  |
 *              +----- rewind -----+      (a request failed: its events are sent again, with the same numbers)
 * ```
 *
 * An event that has been taken once is never changed, as the proxy may have it already. Moves that wait are merged. An event in
 * which a button changes is not: a click that is followed by a move would become a drag.
 */

import { encode, merged } from './event.ts';
import type { InputEvent } from './event.ts';

/** Events that wait at most: more than anyone types while the line is away for some seconds. */
const MAX_WAITING = 4096;

interface Numbered {
  readonly event: InputEvent;
  readonly bytes: Uint8Array;
  /** Whether it only moves the pointer: no button is another than before. */
  readonly moves: boolean;
}

/** Some events that follow one another. */
export interface Taken {
  /** The first one's number, or that of the next event if there are none. */
  readonly first: number;
  /** The number of the one after the last. */
  readonly end: number;
  readonly events: readonly Uint8Array[];
}

export class InputQueue {
  /** Events that are not applied; the first one has the number `#first`. */
  #events: Numbered[] = [];
  #first = 1;
  /** How many of them are under way, and how many have ever been. */
  #under = 0;
  #told = 0;
  #spilt = false;
  /** Buttons of the last event that has any. */
  #buttons = 0;

  /** Adds an event. If there is no room it is left out, and so that no key stays down for it, all go up once there is. */
  push(event: InputEvent): void {
    const last = this.#events.length > this.#told ? this.#events.at(-1) : undefined;
    const one = last?.moves ? merged(last.event, event) : undefined;
    const moves = 'buttons' in event && event.buttons === this.#buttons;
    if ('buttons' in event) this.#buttons = event.buttons;
    if (one) {
      this.#events[this.#events.length - 1] = { event: one, bytes: encode(one), moves: true };
    } else if (this.#events.length < MAX_WAITING) {
      this.#events.push({ event, bytes: encode(event), moves });
    } else {
      this.#spilt = true;
    }
  }

  /** How many events are not under way. */
  get waiting(): number {
    return this.#events.length - this.#under;
  }

  /** How many are not applied. */
  get length(): number {
    return this.#events.length;
  }

  /** Whether all that is not under way is the pointer's way, which can wait to be merged. */
  get onlyMoves(): boolean {
    return this.#events.slice(this.#under).every(({ moves }) => moves);
  }

  /** The next events, of so many bytes at most, which are under way now. An event that is larger is taken alone; with 0, none is. */
  take(bytes: number): Taken {
    const start = this.#under;
    let [end, sum] = [start, 0];
    for (; bytes > 0 && end < this.#events.length; end += 1) {
      sum += this.#events[end]?.bytes.length ?? 0;
      if (sum > bytes && end > start) break;
    }
    this.#under = end;
    this.#told = Math.max(this.#told, end);
    const events = this.#events.slice(start, end).map((event) => event.bytes);
    return { first: this.#first + start, end: this.#first + end, events };
  }

  /** All up to this number were applied. */
  applied(number: number): void {
    const gone = Math.min(Math.max(number + 1 - this.#first, 0), this.#events.length);
    this.#events.splice(0, gone);
    this.#first += gone;
    this.#under = Math.max(this.#under - gone, 0);
    this.#told = Math.max(this.#told - gone, 0);
    if (this.#spilt && this.#events.length < MAX_WAITING) {
      this.#spilt = false;
      this.push({ kind: 'release' });
    }
  }

  /** Leaves out what is not applied: the proxy takes no input from this viewer. */
  discard(): void {
    this.#events = [];
    this.#under = 0;
    this.#told = 0;
  }

  /** What was under way may be lost: it is sent again. */
  rewind(): void {
    this.#under = 0;
  }

  /** Forgets everything: another viewer counts from 1. */
  reset(): void {
    this.discard();
    this.#first = 1;
    this.#spilt = false;
    this.#buttons = 0;
  }
}
