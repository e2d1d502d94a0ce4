/**
 * A line of TCP between a page and its server, which may be long and thin, and counts what passes. It knows nothing of what that is:
 * TLS and all headers are in it.
 *
 * What waits in it is bounded: it reads no more than what is soon on its way, so a slow line is felt by who sends.
 */

import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

export interface Line {
  /** Milliseconds that are added to a round trip. */
  roundTrip: number;
  /** Bytes a second towards the page; 0 is as many as there are. */
  rate: number;
}

/** Of bytes that wait for a thin line. */
const MOST_WAITING = 32 << 10;

export class Relay {
  /** Bytes that have passed. */
  readonly passed = { down: 0, up: 0, connections: 0 };
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  /** What is said on connections that there are now, ever so late, does not arrive. */
  #lost = new AbortController();
  #dead = false;

  constructor(to: number, line: Partial<Line> = {}) {
    const { roundTrip = 0, rate = 0 } = line;
    this.#server = createServer({ noDelay: true }, (page) => {
      if (this.#dead) {
        this.#sockets.add(page);
        page.on('error', () => undefined).on('close', () => this.#sockets.delete(page)).resume();
        return;
      }
      const up = connect({ port: to, host: '127.0.0.1', noDelay: true });
      this.passed.connections += 1;
      for (const one of [page, up]) {
        this.#sockets.add(one);
        const end = (): void => {
          page.destroy();
          up.destroy();
          this.#sockets.delete(one);
        };
        one.on('error', end).on('close', end);
      }
      const lost = this.#lost.signal;
      page.on('data', (bytes) => (this.passed.up += bytes.length));
      up.on('data', (bytes) => (this.passed.down += bytes.length));
      carry(page, up, roundTrip / 2, 0, lost);
      carry(up, page, roundTrip / 2, rate, lost);
    });
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(0, '127.0.0.1', () => resolve()));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Loses all connections without a word, as what forgets them does that stands between. New ones are carried. */
  lose(): void {
    this.#lost.abort();
    this.#lost = new AbortController();
  }

  /** Loses all connections without a word, and carries no new one, as if the server's machine had lost its power. */
  die(): void {
    this.#dead = true;
    this.lose();
  }

  stop(): void {
    this.#server.close();
    for (const one of this.#sockets) one.destroy();
  }
}

/** Carries bytes one way. */
function carry(from: Socket, to: Socket, delay: number, rate: number, lost: AbortSignal): void {
  const waiting: { bytes: Buffer; due: number }[] = [];
  let [held, free, timer] = [0, 0, false];
  const send = (): void => {
    timer = false;
    const now = performance.now();
    for (let next = waiting[0]; next && next.due <= now; next = waiting[0]) {
      waiting.shift();
      held -= next.bytes.length;
      to.write(next.bytes);
    }
    if (held < MOST_WAITING && from.isPaused()) from.resume();
    const next = waiting[0];
    if (next && !timer) {
      timer = true;
      setTimeout(send, next.due - now);
    }
  };
  from.on('data', (bytes: Buffer) => {
    if (lost.aborted) return;
    const now = performance.now();
    // When the last of its bytes has left.
    free = Math.max(free, now) + (rate > 0 ? (bytes.length / rate) * 1000 : 0);
    waiting.push({ bytes, due: free + delay });
    held += bytes.length;
    if (rate > 0 && held >= MOST_WAITING) from.pause();
    if (delay === 0 && rate === 0) send();
    else if (!timer) {
      timer = true;
      setTimeout(send, free + delay - now);
    }
  });
  from.on('end', () => to.end());
}
