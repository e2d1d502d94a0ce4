/**
 * Sends batches: input, and how far this viewer is with its updates. It does not know what carries them.
 *
 * - **Each event arrives once and in order**, however often a batch is lost: what is not known to be applied is sent again.
 * - At most 4 batches are under way; 2 if there are only moves to be told, which then merge while they wait.
 * - An update is acknowledged with the next batch, within `ACKNOWLEDGE` or at once if it was large or several are not.
 * - While keys are down a batch is sent every second, so that the proxy does not take this page for dead and lets them go.
 */

import { batch } from './event.ts';
import type { InputEvent } from './event.ts';
import { InputQueue } from './queue.ts';
import type { Bytes } from '../line/request.ts';

/** What carries batches. */
export interface Carrier {
  /** How many batches with events may be under way. */
  readonly most: number;
  /** Sends a batch; gives the number of the last event that was applied, or undefined if none was asked for. Fails if it may be lost. */
  send(bytes: Bytes, events: boolean): Promise<number | undefined>;
}

/** Milliseconds in which an update is acknowledged; the proxy wants 100 at most. */
const ACKNOWLEDGE = 50;

/** Updates, and bytes of one update, that are acknowledged at once: the proxy learns from it what the line carries. */
const UPDATES_AT_ONCE = 3;
const BYTES_AT_ONCE = 8192;

/** Milliseconds between batches while keys are down; the proxy wants one every 2000. */
const HOLD = 1000;

/** The most bytes of a batch's head. */
const HEAD = 16;

export class Sender {
  readonly #queue = new InputQueue();
  readonly #limit: () => number;
  readonly #after: () => number;
  #carrier: Carrier | undefined;
  #under = 0;
  /** Counts carriers and failures: answers from before one are not looked at. */
  #turn = 0;
  #unacknowledged = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #holding: ReturnType<typeof setInterval> | undefined;
  #hidden = false;
  #here = false;
  #failed: (error: unknown) => void = () => undefined;

  /** `limit` is the most bytes of a batch, `after` the number of the last update that was applied. */
  constructor(limit: () => number, after: () => number) {
    this.#limit = limit;
    this.#after = after;
  }

  /** Begins to use a carrier; `failed` is told when one of its batches may be lost. */
  start(carrier: Carrier, failed: (error: unknown) => void): void {
    this.stop();
    this.#carrier = carrier;
    this.#failed = failed;
    if (this.#hidden) this.#send();
    this.#pump();
  }

  /** Sends nothing until there is another carrier. */
  stop(): void {
    this.#turn += 1;
    this.#carrier = undefined;
    this.#under = 0;
    this.#queue.rewind();
    this.acknowledged();
  }

  /** Forgets all input: there is another viewer. */
  reset(): void {
    this.stop();
    this.#queue.reset();
  }

  /** Leaves out what is not applied: the proxy takes no input from this viewer. */
  discard(): void {
    this.#queue.discard();
  }

  /** How many events are not known to be applied. */
  get waiting(): number {
    return this.#queue.length;
  }

  push(event: InputEvent): void {
    this.#queue.push(event);
    this.#pump();
  }

  /** An update of so many bytes was applied. */
  updated(bytes: number): void {
    this.#unacknowledged += 1;
    if (this.#unacknowledged >= UPDATES_AT_ONCE || bytes >= BYTES_AT_ONCE) this.#send();
    else this.#timer ??= setTimeout(() => this.#send(), ACKNOWLEDGE);
  }

  /** Something else has just told how far this viewer is. */
  acknowledged(): void {
    this.#unacknowledged = 0;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Whether the page cannot be seen. */
  hide(hidden: boolean): void {
    if (hidden === this.#hidden) return;
    this.#hidden = hidden;
    if (this.#carrier) this.#send();
  }

  /** The user is still here. */
  here(): void {
    this.#here = true;
    this.#send();
  }

  /** Whether keys or buttons are down. */
  hold(down: boolean): void {
    if (down === (this.#holding !== undefined)) return;
    clearInterval(this.#holding);
    this.#holding = down ? setInterval(() => this.#send(), HOLD) : undefined;
  }

  #pump(): void {
    while (this.#carrier && this.#queue.waiting > 0) {
      const most = this.#queue.onlyMoves ? Math.min(2, this.#carrier.most) : this.#carrier.most;
      if (this.#under >= most) return;
      this.#send();
    }
  }

  /** Sends a batch with what waits, or an empty one if there is nothing or too much is under way. */
  #send(): void {
    this.acknowledged();
    const carrier = this.#carrier;
    if (!carrier) return;
    const taken = this.#queue.take(this.#under < carrier.most ? this.#limit() - HEAD : 0);
    const events = taken.events.length > 0;
    const head = { hidden: this.#hidden, here: this.#here, after: this.#after(), first: taken.first };
    this.#here = false;
    if (events) this.#under += 1;
    void this.#carry(carrier, batch(head, taken.events), events, taken.end - 1);
  }

  async #carry(carrier: Carrier, bytes: Bytes, events: boolean, last: number): Promise<void> {
    const turn = this.#turn;
    try {
      const applied = await carrier.send(bytes, events);
      if (turn !== this.#turn) return;
      if (events) this.#under -= 1;
      if (applied !== undefined) {
        this.#queue.applied(applied);
        // What the proxy waited for in vain is sent again.
        if (applied < last && this.#under === 0) this.#queue.rewind();
      }
      this.#pump();
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#failed(error);
    }
  }
}
