/** A page's socket without a page: it takes updates and acknowledges them, as `console-proxy/PROTOCOL.md` says, and decodes nothing. */

import { request } from 'node:https';

import { WebSocket } from 'ws';

/** How often it acknowledges. */
const ACKNOWLEDGES = 100;

export class Viewer {
  /** Bytes and updates that came. */
  bytes = 0;
  updates = 0;
  closed = '';
  #number = 0;
  #told = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  #socket: WebSocket | undefined;

  /** Exchanges a ticket and opens a socket, from an address of this machine's own. */
  async open(port: number, origin: string, ticket: string, localAddress: string): Promise<void> {
    const there = { host: '127.0.0.1', port, localAddress, servername: new URL(origin).hostname, rejectUnauthorized: false };
    const headers = { host: new URL(origin).host, origin, 'content-type': 'application/json' };
    const { body, cookie } = await new Promise<{ body: string; cookie: string }>((resolve, reject) => {
      const asked = request({ ...there, method: 'POST', path: '/session', headers, agent: false }, (answer) => {
        let body = '';
        answer.on('data', (part: Buffer) => (body += part.toString()));
        answer.on('end', () => {
          const cookie = answer.headers['set-cookie']?.[0]?.split(';')[0];
          if (answer.statusCode === 200 && cookie) resolve({ body, cookie });
          else reject(new Error(`${answer.statusCode} ${body}`));
        });
      });
      asked.on('error', reject).end(JSON.stringify({ ticket }));
    });
    const { session, viewer } = JSON.parse(body) as { session: string; viewer: string };
    const url = `wss://127.0.0.1:${port}/s/${session}/v/${viewer}/socket?after=0`;
    const socket = new WebSocket(url, { ...there, origin, headers: { host: headers.host, cookie }, perMessageDeflate: false });
    await new Promise((resolve, reject) => void socket.once('open', resolve).once('error', reject));
    socket.on('message', (bytes: Buffer, isBinary) => {
      if (!isBinary) return;
      this.bytes += bytes.length;
      this.updates += 1;
      this.#number = numberAt(bytes, 2);
    });
    socket.on('close', (code) => (this.closed = String(code)));
    this.#socket = socket;
    this.#timer = setInterval(() => this.#acknowledge(), ACKNOWLEDGES);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#socket?.terminate();
  }

  #acknowledge(): void {
    if (this.#number === this.#told || this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#told = this.#number;
    this.#socket.send(Buffer.from([1, 0, ...asBytes(this.#number), 1]));
  }
}

/** A number of FORMAT.md. */
function numberAt(bytes: Buffer, at: number): number {
  let number = 0;
  for (let shift = 0, byte = 0x80; byte >= 0x80; shift += 7, at += 1) {
    byte = bytes[at] ?? 0;
    number += (byte & 0x7f) * 2 ** shift;
  }
  return number;
}

function asBytes(number: number): number[] {
  return number < 0x80 ? [number] : [(number & 0x7f) | 0x80, ...asBytes(Math.floor(number / 0x80))];
}
