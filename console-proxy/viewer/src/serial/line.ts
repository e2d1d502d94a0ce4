/**
 * The line of the serial console: what the VM writes, from where it was left, and what is typed. It comes by the same way as the
 * display's updates, which is known to work. What is wrong with the session is the display's to mend.
 */

import { number } from '../input/event.ts';
import { Backoff } from '../line/backoff.ts';
import type { WayName } from '../line/choice.ts';
import { appliedOf, ended } from '../line/link.ts';
import { NoAnswer, Refusal, closed, cure } from '../line/refusal.ts';
import { ask, askJson, failed, sleep } from '../line/request.ts';
import type { Bytes } from '../line/request.ts';
import { Keyed } from './keyed.ts';

export interface SerialOptions {
  /** `/s/<session>/v/<viewer>/serial`. */
  readonly path: string;
  readonly way: WayName;
  readonly wait_secs: number;
  readonly serial_bytes: number;
  write(bytes: Uint8Array): Promise<void>;
  /** What comes now does not follow what came before. */
  gap(): void;
}

/** Milliseconds in which there is an answer. */
const ANSWER = 10_000;

/**
 * Milliseconds after which a line that says nothing begins anew, as one does that was cut off without a word. By a socket the proxy says
 * something every 10 s; otherwise all that comes is the VM's, which may be silent for long.
 */
const SILENCE = { socket: 25_000, stream: 60_000, poll: 60_000 };

export class SerialLine {
  readonly keyed = new Keyed();
  /** Bytes of the VM's that were shown. */
  #after = 0;
  #wake: () => void = () => undefined;
  /** When something was heard. */
  #heard = 0;

  /** There is another viewer, for which all counts begin anew. */
  begin(): void {
    this.keyed.reset();
    this.#after = 0;
  }

  /** Types. */
  push(bytes: Uint8Array): void {
    this.keyed.push(bytes);
    this.#wake();
  }

  /** Stays until the signal ends it, or the session must be mended. */
  async run(options: SerialOptions, signal: AbortSignal): Promise<void> {
    const backoff = new Backoff();
    while (!signal.aborted) {
      const turn = new AbortController();
      const both = AbortSignal.any([signal, turn.signal]);
      try {
        const line = options.way === 'socket' ? [this.#socket(options, both, backoff)]
          : [options.way === 'stream' ? this.#stream(options, both, backoff) : this.#polls(options, both, backoff), this.#posts(options, both)];
        await Promise.race([...line, this.#silence(SILENCE[options.way], both)]);
      } catch (error) {
        if (signal.aborted || ['viewer', 'resume', 'ended'].includes(cure(error))) return;
        if (error instanceof Refusal && error.code === 'view_only') this.keyed.discard();
        else if (error instanceof Refusal && error.wait !== undefined) await sleep(error.wait * 1000, signal).catch(() => undefined);
      } finally {
        turn.abort(new NoAnswer('begun anew'));
      }
      await backoff.wait(signal).catch(() => undefined);
    }
  }

  async #silence(limit: number, signal: AbortSignal): Promise<never> {
    this.#heard = performance.now();
    for (;;) {
      const left = this.#heard + limit - performance.now();
      if (left <= 0) throw new NoAnswer('nothing has come for long');
      await sleep(left, signal);
    }
  }

  async #polls(options: SerialOptions, signal: AbortSignal, backoff: Backoff): Promise<never> {
    for (;;) {
      const answer = await ask(`${options.path}?after=${this.#after}`, { signal, limit: (options.wait_secs + 10) * 1000 });
      backoff.reset();
      this.#heard = performance.now();
      if (answer.status === 204) continue;
      const bytes = await answer.arrayBuffer().catch((error: unknown) => Promise.reject(failed(error, signal)));
      this.#from(options, signal, Number(answer.headers.get('podzol-from') ?? this.#after));
      await this.#show(options, signal, new Uint8Array(bytes));
    }
  }

  async #stream(options: SerialOptions, signal: AbortSignal, backoff: Backoff): Promise<never> {
    const answer = await ask(`${options.path}/stream?after=${this.#after}`, { signal, limit: ANSWER });
    backoff.reset();
    this.#from(options, signal, Number(answer.headers.get('podzol-from') ?? this.#after));
    const reader = answer.body?.getReader();
    try {
      for (let piece = await reader?.read(); piece && !piece.done; piece = await reader?.read()) {
        await this.#show(options, signal, piece.value);
      }
    } catch (error) {
      throw failed(error, signal);
    } finally {
      reader?.cancel().catch(() => undefined);
    }
    throw new NoAnswer('the response has ended');
  }

  async #socket(options: SerialOptions, signal: AbortSignal, backoff: Backoff): Promise<never> {
    const opens = sleep(ANSWER, signal).then(() => Promise.reject(new NoAnswer('the socket does not open')));
    const line = new WebSocket(`wss://${location.host}${options.path}/socket?after=${this.#after}`);
    line.binaryType = 'arraybuffer';
    let answered: (applied: number) => void = () => undefined;
    let shown: Promise<unknown> = Promise.resolve();
    const over = new Promise<never>((_, reject) => {
      line.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
        backoff.reset();
        this.#heard = performance.now();
        if (data instanceof ArrayBuffer) {
          shown = shown.then(() => this.#show(options, signal, new Uint8Array(data))).catch(reject);
          return;
        }
        const { from, applied } = said(String(data));
        if (from !== undefined) shown = shown.then(() => this.#from(options, signal, from)).catch(reject);
        if (applied !== undefined) answered(applied);
      });
      line.addEventListener('close', ({ code, reason }) => reject(closed(code, reason) ?? new NoAnswer('the socket was closed')));
    });
    const open = new Promise<void>((resolve) => line.addEventListener('open', () => resolve()));
    const send = async (first: number, bytes: Bytes): Promise<number> => {
      const head = number(first);
      const message = new Uint8Array(head.length + bytes.length);
      message.set(head);
      message.set(bytes, head.length);
      const answer = new Promise<number>((resolve) => (answered = resolve));
      line.send(message);
      return Promise.race([answer, sleep(ANSWER, signal).then(() => Promise.reject(new NoAnswer('no answer')))]);
    };
    try {
      await Promise.race([open, over, opens, ended(signal)]);
      return await Promise.race([over, ended(signal), this.#type(options, signal, send)]);
    } finally {
      line.close();
    }
  }

  #posts(options: SerialOptions, signal: AbortSignal): Promise<never> {
    return this.#type(options, signal, async (first, bytes) => {
      const json = await askJson(`${options.path}/input?first=${first}`, { signal, limit: ANSWER, bytes });
      return appliedOf(json) ?? first;
    });
  }

  /** Sends what is typed, one piece after the other. */
  async #type(options: SerialOptions, signal: AbortSignal, send: (first: number, bytes: Bytes) => Promise<number>): Promise<never> {
    for (;;) {
      const next = this.keyed.next(options.serial_bytes);
      if (next) {
        const applied = await send(next.first, next.bytes);
        this.keyed.applied(applied);
        // It waits for what was lost; that is what is sent next.
        if (applied < next.first) throw new NoAnswer('bytes are missing');
      } else {
        const typed = new Promise<void>((resolve) => (this.#wake = resolve));
        await Promise.race([typed, ended(signal)]);
      }
    }
  }

  #from(options: SerialOptions, signal: AbortSignal, from: number): void {
    signal.throwIfAborted();
    if (from !== this.#after) options.gap();
    this.#after = from;
  }

  async #show(options: SerialOptions, signal: AbortSignal, bytes: Uint8Array): Promise<void> {
    // What comes late is of a count that is over.
    signal.throwIfAborted();
    this.#heard = performance.now();
    this.#after += bytes.length;
    // Waited for: a terminal that is behind holds up the line, and not the browser's memory.
    await options.write(bytes);
  }
}

/** What a socket says beside bytes. */
function said(text: string): { from: number | undefined; applied: number | undefined } {
  try {
    const json = JSON.parse(text) as { from?: unknown };
    return { from: typeof json.from === 'number' ? json.from : undefined, applied: appliedOf(json) };
  } catch {
    return { from: undefined, applied: undefined };
  }
}
