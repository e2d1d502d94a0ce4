/** A viewer of the stand-in: what was sent to it, and what it has told. */

import type { ServerResponse } from 'node:http';

import type { WebSocket } from 'ws';

import { Reader } from '../../src/body/reader.ts';
import { head } from '../../src/body/update.ts';
import type { Stand } from './stand.ts';
import { json } from './stand.ts';

/** Updates that may be on their way. */
const MOST = 8;

/** Milliseconds for which a batch waits for those before it. */
const GAP = 2000;

export class StandViewer {
  readonly #stand: Stand;
  /** The numbers of the last update that was sent, and that was acknowledged. */
  #sent = 0;
  acknowledged = 0;
  hidden = false;
  /** Batches without events, and all. */
  batches = 0;
  applied = 0;
  #polls: ServerResponse[] = [];
  readonly #asked = new Set<number>();
  #states: { after: number; response: ServerResponse }[] = [];
  #line: { update(body: Uint8Array): void; state(): void } | undefined;
  #waiting: (() => void)[] = [];

  constructor(stand: Stand) {
    this.#stand = stand;
  }

  /** Notes a poll: whether its number has not come before. */
  isNew(poll: number): boolean {
    const isNew = !this.#asked.has(poll);
    this.#asked.add(poll);
    return isNew;
  }

  poll(after: number, resume: boolean, response: ServerResponse, wait: number): void {
    this.#line = undefined;
    if (resume) {
      this.#polls.splice(0).forEach((poll) => poll.writeHead(204).end());
      this.#sent = after;
    }
    this.#acknowledge(after);
    this.#polls.push(response);
    setTimeout(() => {
      if (!this.#polls.includes(response)) return;
      this.#polls = this.#polls.filter((poll) => poll !== response);
      response.writeHead(204).end();
    }, wait * 1000);
    this.pump();
  }

  stream(after: number, response: ServerResponse): void {
    const message = (kind: number, bytes: Uint8Array): void => {
      const start = Buffer.alloc(5);
      start[0] = kind;
      start.writeUInt32BE(bytes.length, 1);
      response.write(Buffer.concat([start, bytes]));
    };
    response.writeHead(200, { 'content-type': 'application/octet-stream' });
    this.#begin(after, {
      update: (body) => message(1, body),
      state: () => message(2, Buffer.from(JSON.stringify(this.#stand.told()))),
    });
  }

  socket(line: WebSocket, after: number): void {
    this.#begin(after, {
      update: (body) => line.send(body),
      state: () => line.send(JSON.stringify({ state: this.#stand.told() })),
    });
    const alive = setInterval(() => line.send('{}'), 5000);
    line.on('close', () => clearInterval(alive));
    line.on('message', (message: Buffer) => {
      void this.input(message).then((applied) => {
        if (hasEvents(message)) line.send(JSON.stringify({ applied }));
      });
    });
  }

  #begin(after: number, line: { update(body: Uint8Array): void; state(): void }): void {
    this.#polls.splice(0).forEach((poll) => poll.writeHead(204).end());
    this.#line = line;
    this.#sent = after;
    this.#acknowledge(after);
    line.state();
    this.pump();
  }

  state(after: number, response: ServerResponse, wait: number): void {
    this.#states.push({ after, response });
    setTimeout(() => {
      if (!response.writableEnded) response.writeHead(204).end();
    }, wait * 1000);
    this.told();
  }

  /** The state is another. */
  told(): void {
    this.#line?.state();
    this.#states = this.#states.filter(({ after, response }) => {
      if (after === this.#stand.state['number']) return true;
      if (!response.writableEnded) json(response, 200, this.#stand.told());
      return false;
    });
  }

  /** Sends what there is room for. */
  pump(): void {
    for (;;) {
      const next = this.#stand.after(this.#sent);
      const body = this.#stand.bodies[next];
      if (!body || this.hidden || (!this.#line && this.#polls.length === 0)) return;
      if (next - this.#stand.after(this.acknowledged) >= MOST) return;
      this.#sent = head(new Reader(body)).number;
      if (this.#line) this.#line.update(body);
      else this.#polls.shift()?.setHeader('content-type', 'application/octet-stream').writeHead(200).end(body);
    }
  }

  /** Applies a batch once those before it are; gives the number of the last event that was. */
  async input(bytes: Buffer): Promise<number> {
    const reader = new Reader(bytes);
    if (reader.byte() !== 1) throw new Error('another version');
    const flags = reader.byte();
    const after = reader.number();
    const first = reader.number();
    this.batches += 1;
    this.hidden = (flags & 1) !== 0;
    if (first > this.applied + 1) await this.#before(first);
    if (first <= this.applied + 1) this.#apply(reader, first);
    this.#acknowledge(after);
    this.pump();
    return this.applied;
  }

  #apply(reader: Reader, first: number): void {
    for (let number = first; reader.left > 0; number += 1) {
      const event = text(reader);
      if (number <= this.applied) continue;
      this.applied = number;
      this.#stand.events.push(event);
    }
    this.#waiting.splice(0).forEach((wake) => wake());
  }

  async #before(first: number): Promise<void> {
    const until = Date.now() + GAP;
    while (first > this.applied + 1 && Date.now() < until) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
        setTimeout(resolve, until - Date.now());
      });
    }
  }

  #acknowledge(number: number): void {
    this.acknowledged = Math.max(this.acknowledged, number);
  }
}

function hasEvents(bytes: Buffer): boolean {
  const reader = new Reader(bytes.subarray(2));
  reader.number();
  reader.number();
  return reader.left > 0;
}

function text(reader: Reader): string {
  const kind = reader.byte();
  const hex = (): string => reader.number().toString(16);
  switch (kind) {
    case 1:
    case 2:
      return `${kind === 1 ? 'down' : 'up'} ${hex()} ${hex()}`;
    case 3:
      return `pointer ${reader.byte()} ${reader.number()},${reader.number()}`;
    case 4:
      return `move ${reader.byte()} ${reader.signed()},${reader.signed()}`;
    case 5:
      return 'release';
    case 6:
      return `clipboard ${Buffer.from(reader.blob()).toString()}`;
    default:
      throw new Error(`event ${kind}`);
  }
}
