/** How long to wait before asking again (`PROTOCOL.md`, "Errors"). */

import { sleep } from './request.ts';

const SECONDS = [0.25, 0.5, 1, 2, 4];

/** Milliseconds of failures after which another way is looked for as well. */
const LONG = 8000;

export class Backoff {
  #failures = 0;
  #since = 0;

  /** Something has worked. */
  reset(): void {
    this.#failures = 0;
  }

  /** Whether nothing has worked for so long that another proxy may be needed. */
  get long(): boolean {
    return this.#failures > 0 && performance.now() - this.#since >= LONG;
  }

  /**
   * Waits after a failure, or until there is a network again. The first time it is shorter, at random: one answer is easily
   * lost, and a proxy that was lost by all its pages at once shall not see them all at once.
   */
  async wait(signal: AbortSignal): Promise<void> {
    if (this.#failures === 0) this.#since = performance.now();
    const seconds = SECONDS[Math.min(this.#failures, SECONDS.length - 1)] ?? 4;
    const part = this.#failures === 0 ? Math.random() : 0.75 + Math.random() / 2;
    this.#failures += 1;
    const woken = new AbortController();
    const wake = (): void => woken.abort();
    addEventListener('online', wake, { once: true });
    try {
      await sleep(seconds * 1000 * part, AbortSignal.any([signal, woken.signal]));
    } catch (error) {
      if (signal.aborted) throw error;
    } finally {
      removeEventListener('online', wake);
    }
  }
}
