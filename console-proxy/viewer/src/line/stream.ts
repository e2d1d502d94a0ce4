/** Updates and states in one response that does not end. What collects responses on the way is found out: nothing comes. */

import { Reader } from '../body/reader.ts';
import { applyInOrder, posts } from './link.ts';
import type { Link, Way } from './link.ts';
import { NoAnswer } from './refusal.ts';
import { ask, failed } from './request.ts';

/** Milliseconds until the first message, and between any two. */
const FIRST = 3000;
const SILENCE = 25_000;

/** The most bytes of a message: more than any desktop's whole picture. */
const MAX_MESSAGE = 2 ** 28;

const UPDATE = 1;
const STATE = 2;

export const stream: Way = async (link, signal) => {
  const others = new AbortController();
  const both = AbortSignal.any([signal, others.signal]);
  try {
    return await Promise.race([updates(link, both, others), posts(link, both)]);
  } finally {
    others.abort(new NoAnswer('the response has ended'));
  }
};

async function updates(link: Link, signal: AbortSignal, others: AbortController): Promise<never> {
  const silent = (): void => others.abort(new NoAnswer('the response is silent'));
  let timer = setTimeout(silent, FIRST);
  try {
    const response = await ask(`${link.path}/stream?after=${link.after()}`, { signal, limit: FIRST });
    const messages = new Messages();
    for await (const piece of pieces(response)) {
      for (const { kind, bytes } of messages.push(piece)) {
        clearTimeout(timer);
        timer = setTimeout(silent, SILENCE);
        link.heard();
        if (kind === UPDATE) await applyInOrder(link, bytes);
        if (kind === STATE) link.state(JSON.parse(new TextDecoder().decode(bytes)));
      }
    }
    throw new NoAnswer('the response has ended');
  } catch (error) {
    throw failed(error, signal);
  } finally {
    clearTimeout(timer);
  }
}

async function* pieces(response: Response): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (!reader) return;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

export interface Message {
  readonly kind: number;
  readonly bytes: Uint8Array;
}

/** Puts messages together from pieces of any length. */
export class Messages {
  #pieces: Uint8Array[] = [];
  #have = 0;
  #need = 5;

  /** The messages that are whole now. */
  push(piece: Uint8Array): Message[] {
    this.#pieces.push(piece);
    this.#have += piece.length;
    const whole: Message[] = [];
    while (this.#have >= this.#need) {
      const all = this.#joined();
      const reader = new Reader(all);
      const kind = reader.byte();
      const length = reader.short() * 0x1_0000 + reader.short();
      if (length > MAX_MESSAGE) throw new NoAnswer('a message is too long');
      this.#need = 5 + length;
      if (this.#have < this.#need) break;
      whole.push({ kind, bytes: reader.take(length) });
      this.#pieces = [all.subarray(this.#need)];
      this.#have -= this.#need;
      this.#need = 5;
    }
    return whole;
  }

  #joined(): Uint8Array {
    const [first] = this.#pieces;
    if (first && this.#pieces.length === 1) return first;
    const all = new Uint8Array(this.#have);
    let at = 0;
    for (const piece of this.#pieces) {
      all.set(piece, at);
      at += piece.length;
    }
    this.#pieces = [all];
    return all;
  }
}
