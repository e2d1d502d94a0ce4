/**
 * Updates by long polls, of which several are open, so that there is more than one update in a round trip. It works wherever
 * HTTP does.
 *
 * ```text
 *   asks anew (resume=1) -> lanes, each: poll -> answered -> poll -> ...
 *        ^                                 |
 *        +--- a poll failed, a body was broken, or what is missing does not come
 * ```
 *
 * Browsers ask once more by themselves when a connection ends under a request, and do not tell. What such a poll carried is lost: so
 * each has a number of its own, and the proxy refuses one that it has heard before, which is as if it had failed.
 *
 * Answers may overtake one another: an update that does not fit yet is kept until the one before it has come.
 *
 * A poll is answered late, if nothing changes, and one that never is looks the same: so the proxy is asked for something else.
 */

import type { Applied } from '../picture/picture.ts';
import { alive, answers } from './alive.ts';
import { Backoff } from './backoff.ts';
import { isPassing, multiplexed, posts, states } from './link.ts';
import type { Link, Way } from './link.ts';
import { NoAnswer } from './refusal.ts';
import { askBytes, sleep } from './request.ts';

/** Milliseconds before the other polls are opened: the first one says where to go on. */
const SPREAD = 100;

/** Milliseconds in which a missing update comes, or does not. */
const MISSING = 3000;

/** The number of the last poll of this page. */
let asked = 0;

export const polls: Way = async (link, signal) => {
  const others = new AbortController();
  const both = AbortSignal.any([signal, others.signal]);
  let last = performance.now();
  const heard = (): void => {
    last = performance.now();
    link.heard();
  };
  // With a connection for each request, of which there are six, they might wait for one, and the proxy would seem to be gone.
  const asks = multiplexed();
  const begun = (): void => {
    if (asks) answers(link, both).catch((error: unknown) => others.abort(error));
  };
  const ways = [updates({ ...link, heard }, begun, both), states(link, both), posts(link, both)];
  if (asks) ways.push(alive(link, () => performance.now() - last, both));
  try {
    return await Promise.race(ways);
  } finally {
    others.abort(new NoAnswer('another request has failed'));
  }
};

async function updates(link: Link, begun: () => void, signal: AbortSignal): Promise<never> {
  const backoff = new Backoff();
  for (;;) {
    const round = new AbortController();
    begun();
    try {
      return await lanes(link, AbortSignal.any([signal, round.signal]), backoff);
    } catch (error) {
      if (signal.aborted || !isPassing(error) || backoff.long) throw error;
    } finally {
      round.abort(new NoAnswer('another poll has failed'));
    }
    await backoff.wait(signal);
  }
}

/** Polls until one fails. */
async function lanes(link: Link, signal: AbortSignal, backoff: Backoff): Promise<never> {
  const limit = (link.limits.wait_secs + 10) * 1000;
  const most = multiplexed() ? link.limits.polls : Math.min(2, link.limits.polls);
  let fail: (error: unknown) => void = () => undefined;
  const broken = new Promise<never>((_, reject) => (fail = reject));
  const early = new Early((bytes) => link.body(bytes));
  const missing = new Missing(() => fail(new NoAnswer('an update is missing')));
  const arrived = async (bytes: Uint8Array): Promise<void> => {
    const applied = await early.arrived(bytes);
    for (const body of applied) link.sender.updated(body.length);
    missing.told(applied.length, early.kept);
  };
  let lanes = 0;
  const lane = async (first: 'resume' | 'later'): Promise<void> => {
    let resume = first === 'resume';
    if (!resume) await sleep(SPREAD, signal);
    while (!document.hidden || lanes === 1) {
      link.sender.acknowledged();
      asked += 1;
      const query = `after=${link.after()}&poll=${asked}${resume ? '&resume=1' : ''}`;
      const bytes = await askBytes(`${link.path}/updates?${query}`, { signal, limit });
      resume = false;
      backoff.reset();
      link.heard();
      // Not waited for: the next poll is opened before this answer is decoded.
      if (bytes) arrived(bytes).catch(fail);
    }
  };
  const open = (first: 'resume' | 'later'): void => {
    lanes += 1;
    lane(first)
      .finally(() => (lanes -= 1))
      .catch(fail);
  };
  const seen = (): void => {
    while (!document.hidden && lanes < most) open('later');
  };
  document.addEventListener('visibilitychange', seen);
  open('resume');
  seen();
  try {
    return await broken;
  } finally {
    missing.stop();
    document.removeEventListener('visibilitychange', seen);
  }
}

/** Waits for an update that others are kept for, for so long as none at all is applied. */
export class Missing {
  readonly #late: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(late: () => void) {
    this.#late = late;
  }

  /** So many were applied, and so many are kept for one that is not here. */
  told(applied: number, kept: number): void {
    if (applied === 0 && kept > 0 && this.#timer !== undefined) return;
    this.stop();
    if (kept > 0) this.#timer = setTimeout(this.#late, MISSING);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** Updates that came before the one that they come after. */
export class Early {
  readonly #apply: (body: Uint8Array) => Promise<Applied>;
  #kept: Uint8Array[] = [];

  constructor(apply: (body: Uint8Array) => Promise<Applied>) {
    this.#apply = apply;
  }

  /** How many wait. */
  get kept(): number {
    return this.#kept.length;
  }

  /** Applies an update and those that have waited for it. Gives those that were applied. */
  async arrived(body: Uint8Array): Promise<Uint8Array[]> {
    const applied = await this.#apply(body);
    if (applied === 'old') return [];
    if (applied === 'out-of-order') {
      this.#kept.push(body);
      return [];
    }
    const done = [body];
    for (let more = true; more; ) {
      more = false;
      for (const kept of [...this.#kept]) {
        const applied = await this.#apply(kept);
        if (applied === 'out-of-order') continue;
        this.#kept = this.#kept.filter((one) => one !== kept);
        if (applied === 'new') {
          done.push(kept);
          more = true;
        }
      }
    }
    return done;
  }
}
