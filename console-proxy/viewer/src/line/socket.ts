/** Updates, states and input in a WebSocket. */

import { alive } from './alive.ts';
import type { Bytes } from './request.ts';
import { appliedOf, applyInOrder, ended } from './link.ts';
import type { Link, Way } from './link.ts';
import { NoAnswer, closed } from './refusal.ts';
import { askJson, sleep } from './request.ts';

/** Milliseconds until the first message: something on the way may not let it through. */
const FIRST = 3000;

/** Milliseconds in which a batch with events is answered. */
const ANSWER = 8000;

/** Milliseconds until it is known why a socket was not opened. */
const WHY = 6000;

/**
 * Milliseconds of silence after which the socket is given up: the proxy, which says something every 10 s, may well answer, but on
 * another connection.
 */
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
      else askJson(`${link.path}/state?after=0`, { signal, limit: WHY }).then(() => fail(why), fail);
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
  const silence = (): number => performance.now() - heard;
  return Promise.race([failing, given(silence, signal), alive(link, silence, signal)]);
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

/** Gives a silent socket up. */
async function given(silence: () => number, signal: AbortSignal): Promise<never> {
  for (;;) {
    await sleep(1000, signal);
    if (silence() > DEAD) throw new NoAnswer('the socket is silent');
  }
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
