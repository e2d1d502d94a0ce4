/** Updates, states and input in a WebSocket. */

import type { Bytes } from './request.ts';
import { appliedOf, applyInOrder, ended } from './link.ts';
import type { Link, Way } from './link.ts';
import { NoAnswer, closed } from './refusal.ts';
import { askJson } from './request.ts';

/** Milliseconds until the first message: something on the way may not let it through. */
const FIRST = 3000;

/** Milliseconds in which a batch with events is answered. */
const ANSWER = 8000;

/**
 * Milliseconds of silence after which the proxy is asked if it is still there: it says something every 10 s, as a browser does not
 * tell pages about pings, and notices a dead connection after minutes.
 */
const SILENCE = 12_000;
const ALIVE = 6000;

/** Milliseconds of silence after which the socket is given up: the proxy may well answer, but on another connection. */
const DEAD = 25_000;

export const socket: Way = async (link, signal) => {
  const others = new AbortController();
  const both = AbortSignal.any([signal, others.signal]);
  const line = new WebSocket(`wss://${location.host}${link.path}/socket?after=${link.after()}`);
  line.binaryType = 'arraybuffer';
  try {
    return await Promise.race([ended(both), talk(link, line, both)]);
  } finally {
    link.sender.stop();
    others.abort(new NoAnswer('the socket is closed'));
    line.close();
  }
};

async function talk(link: Link, line: WebSocket, signal: AbortSignal): Promise<never> {
  let heard = performance.now();
  let opened = false;
  const answers = new Answers(link);
  const failing = new Promise<never>((_, reject) => {
    const fail = (error: unknown): void => reject(error instanceof SyntaxError ? new NoAnswer('no JSON') : (error as Error));
    const first = setTimeout(() => fail(new NoAnswer('nothing has come through the socket')), FIRST);
    line.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
      clearTimeout(first);
      heard = performance.now();
      link.heard();
      if (data instanceof ArrayBuffer) applyInOrder(link, new Uint8Array(data)).catch(fail);
      else told(link, answers, String(data), fail);
    });
    line.addEventListener('close', ({ code, reason }) => {
      clearTimeout(first);
      const why = closed(code, reason) ?? new NoAnswer(`the socket was closed (${code})`);
      // Why a socket was not opened, browsers do not tell: something else is asked, which may be refused as well.
      if (opened) fail(why);
      else askJson(`${link.path}/state?after=0`, { signal, limit: ALIVE }).then(() => fail(why), fail);
    });
    line.addEventListener('open', () => {
      opened = true;
      const send = (bytes: Bytes, events: boolean): Promise<number | undefined> => {
        line.send(bytes);
        return events ? answers.next() : Promise.resolve(undefined);
      };
      link.sender.start({ most: 4, send }, fail);
    });
  });
  return Promise.race([failing, watch(link, () => performance.now() - heard, signal)]);
}

function told(link: Link, answers: Answers, text: string, fail: (error: unknown) => void): void {
  try {
    const json = JSON.parse(text) as { state?: unknown };
    const applied = appliedOf(json);
    if (applied !== undefined) answers.come(applied);
    if (json.state !== undefined) link.state(json.state);
  } catch (error) {
    fail(error);
  }
}

/** Asks in silence if the proxy is still there. */
async function watch(link: Link, silence: () => number, signal: AbortSignal): Promise<never> {
  const ask = async (): Promise<void> => {
    const start = performance.now();
    const state = await askJson(`${link.path}/state?after=0`, { signal, limit: ALIVE });
    link.took(performance.now() - start);
    if (state !== undefined) link.state(state);
  };
  return new Promise((_, reject) => {
    let asked = 0;
    const timer = setInterval(() => {
      if (silence() > DEAD) reject(new NoAnswer('the socket is silent'));
      if (silence() < SILENCE || performance.now() - asked < SILENCE || document.hidden) return;
      asked = performance.now();
      ask().catch(reject);
    }, 1000);
    const seen = (): void => {
      if (document.hidden || silence() < SILENCE) return;
      asked = performance.now();
      ask().catch(reject);
    };
    document.addEventListener('visibilitychange', seen);
    addEventListener('online', seen);
    signal.addEventListener('abort', () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', seen);
      removeEventListener('online', seen);
    });
  });
}

interface Waiting {
  readonly start: number;
  readonly timer: ReturnType<typeof setTimeout>;
  resolve(applied: number): void;
}

/** Answers to batches, which come in the order of the batches. */
class Answers {
  readonly #link: Link;
  readonly #waiting: Waiting[] = [];

  constructor(link: Link) {
    this.#link = link;
  }

  next(): Promise<number> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new NoAnswer('a batch was not answered')), ANSWER);
      this.#waiting.push({ start: performance.now(), timer, resolve });
    });
  }

  come(applied: number): void {
    const waiting = this.#waiting.shift();
    if (!waiting) return;
    clearTimeout(waiting.timer);
    this.#link.took(performance.now() - waiting.start);
    waiting.resolve(applied);
  }
}
