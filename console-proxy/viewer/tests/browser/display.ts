/**
 * A display that shows what a test paints and notes what it is told: an RFB server (RFC 6143) that takes scancodes as QEMU does, and
 * tells of another size and of a cursor.
 */

import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

const SCANCODES = -258;
const DESKTOP_SIZE = -223;
const CURSOR = -239;
const RAW = 0;

interface Area {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

export class Display {
  /** Events as the stand-in has them, without nudges: keys that go up and are none. */
  readonly events: string[] = [];
  width = 1024;
  height = 768;
  /** `0xRRGGBB`, row by row. */
  pixels = new Uint32Array(1024 * 768);
  readonly #viewers = new Set<() => void>();
  #resized = 0;
  #shape: Buffer | undefined;
  #shapes = 0;
  #dirty: Area[] = [];
  #painted = 0;
  readonly #server: Server = createServer((socket) => void this.#serve(socket).catch(() => socket.destroy()));

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(0, '127.0.0.1', () => resolve()));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  stop(): void {
    this.#server.close();
  }

  /** Paints a rectangle; places are within it. */
  paint(left: number, top: number, width: number, height: number, colour: (x: number, y: number) => number): void {
    const [right, bottom] = [Math.min(left + width, this.width), Math.min(top + height, this.height)];
    for (let y = top; y < bottom; y += 1) {
      for (let x = left; x < right; x += 1) this.pixels[y * this.width + x] = colour(x - left, y - top);
    }
    this.#dirty.push({ left, top, right, bottom });
    this.#painted += 1;
    this.#wake();
  }

  resize(width: number, height: number): void {
    this.width = width;
    this.height = height;
    this.pixels = new Uint32Array(width * height);
    this.#resized += 1;
    this.#dirty = [];
    this.#painted = 0;
    this.#wake();
  }

  /** A cursor of one colour. */
  cursor(width: number, height: number): void {
    const mask = Buffer.alloc(Math.ceil(width / 8) * height, 0xff);
    this.#shape = Buffer.concat([rectangle(CURSOR, width, height), Buffer.alloc(width * height * 4, 0x80), mask]);
    this.#shapes += 1;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#viewers) wake();
  }

  async #serve(socket: Socket): Promise<void> {
    socket.setNoDelay(true);
    const read = reader(socket);
    socket.write('RFB 003.008\n');
    await read(12);
    socket.write(Buffer.from([1, 1]));
    await read(1);
    socket.write(Buffer.alloc(4));
    await read(1);
    const start = Buffer.alloc(24 + 1);
    start.writeUInt16BE(this.width, 0);
    start.writeUInt16BE(this.height, 2);
    Buffer.from([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0]).copy(start, 4);
    start[23] = 1;
    start[24] = 120;
    socket.write(start);
    socket.write(update(rectangle(SCANCODES)));
    const shown = { painted: -1, resized: this.#resized, shapes: 0, asked: false, shifts: [16, 8, 0] };
    const show = (): void => {
      if (!shown.asked) return;
      const parts = this.#parts(shown);
      if (parts.length === 0) return;
      shown.asked = false;
      socket.write(update(...parts));
    };
    this.#viewers.add(show);
    socket.on('close', () => this.#viewers.delete(show));
    for (;;) {
      const [kind = 0] = await read(1);
      switch (kind) {
        case 0:
          shown.shifts = [...(await read(19)).subarray(13, 16)];
          break;
        case 2:
          await read((await read(3)).readUInt16BE(1) * 4);
          break;
        case 3: {
          const incremental = (await read(9))[0] !== 0;
          shown.asked = true;
          if (!incremental) shown.painted = -1;
          show();
          break;
        }
        case 4:
          await read(7);
          break;
        case 5: {
          const of = await read(5);
          this.events.push(`pointer ${of[0]} ${of.readUInt16BE(1)},${of.readUInt16BE(3)}`);
          break;
        }
        case 6:
          await read(Math.abs((await read(7)).readInt32BE(3)));
          break;
        case 255:
          this.#key(await read(11));
          break;
        default:
          throw new Error(`message ${kind}`);
      }
    }
  }

  /** The rectangles of what a viewer does not have. */
  #parts(shown: { painted: number; resized: number; shapes: number; shifts: number[] }): Buffer[] {
    if (shown.resized !== this.#resized) {
      shown.resized = this.#resized;
      shown.painted = -1;
      return [rectangle(DESKTOP_SIZE, this.width, this.height)];
    }
    const parts: Buffer[] = [];
    if (this.#shape && shown.shapes !== this.#shapes) parts.push(this.#shape);
    shown.shapes = this.#shapes;
    const whole = [{ left: 0, top: 0, right: this.width, bottom: this.height }];
    for (const area of shown.painted < 0 ? whole : this.#dirty.slice(shown.painted)) parts.push(this.#raw(area, shown.shifts));
    shown.painted = this.#painted;
    return parts;
  }

  #raw({ left, top, right, bottom }: Area, [red = 16, green = 8, blue = 0]: number[]): Buffer {
    const bytes = Buffer.alloc((right - left) * (bottom - top) * 4);
    let at = 0;
    for (let y = top; y < bottom; y += 1) {
      for (let x = left; x < right; x += 1, at += 4) {
        const pixel = this.pixels[y * this.width + x] ?? 0;
        bytes.writeUInt32LE((((pixel >> 16) << red) | (((pixel >> 8) & 0xff) << green) | ((pixel & 0xff) << blue)) >>> 0, at);
      }
    }
    return Buffer.concat([rectangle(RAW, right - left, bottom - top, left, top), bytes]);
  }

  #key(of: Buffer): void {
    const [down, keysym, scancode] = [of.readUInt16BE(1), of.readUInt32BE(3), of.readUInt32BE(7)];
    if (scancode !== 0) this.events.push(`${down ? 'down' : 'up'} ${scancode.toString(16)} ${keysym.toString(16)}`);
  }
}

function rectangle(encoding: number, width = 0, height = 0, left = 0, top = 0): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt16BE(left, 0);
  bytes.writeUInt16BE(top, 2);
  bytes.writeUInt16BE(width, 4);
  bytes.writeUInt16BE(height, 6);
  bytes.writeInt32BE(encoding, 8);
  return bytes;
}

function update(...rectangles: Buffer[]): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(rectangles.length, 2);
  return Buffer.concat([head, ...rectangles]);
}

/** Reads so many bytes, and no more. */
function reader(socket: Socket): (length: number) => Promise<Buffer> {
  let have = Buffer.alloc(0);
  let wake: () => void = () => undefined;
  socket.on('data', (bytes: Buffer) => {
    have = Buffer.concat([have, bytes]);
    wake();
  });
  socket.on('close', () => wake());
  socket.on('error', () => wake());
  return async (length) => {
    while (have.length < length) {
      if (socket.destroyed) throw new Error('closed');
      await new Promise<void>((resolve) => (wake = resolve));
    }
    const read = have.subarray(0, length);
    have = have.subarray(length);
    return read;
  };
}
