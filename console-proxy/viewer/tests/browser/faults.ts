/**
 * Stands between a page and its proxy, and harms what passes: requests are dropped before or after they have arrived, delayed, and
 * repeated; sockets are cut. What happens is the same for the same seed and the same requests in the same order.
 */

import { request as ask } from 'node:https';
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import { connect as connectTls } from 'node:tls';
import type { AddressInfo } from 'node:net';
import type { IncomingMessage, ServerResponse } from 'node:http';

import type { Certificate } from './certificate.ts';

export interface Faults {
  /** The part of requests that are dropped, repeated, and delayed, from 0 to 1. */
  drop: number;
  repeat: number;
  delay: number;
  /** The most milliseconds of a delay. */
  latest: number;
  /** Bytes towards the proxy after which a socket is cut; 0 is never. */
  cutAfter: number;
}

export class FaultyLine {
  readonly faults: Faults;
  /** What was done, by its name. */
  readonly done = { dropped: 0, lost: 0, repeated: 0, delayed: 0, cut: 0, passed: 0 };
  readonly #server: Server;
  readonly #to: number;
  #seed = 1;

  constructor(certificate: Certificate, to: number, faults: Partial<Faults>) {
    this.#to = to;
    this.faults = { drop: 0, repeat: 0, delay: 0, latest: 200, cutAfter: 0, ...faults };
    this.#server = createServer(certificate, (request, response) => {
      this.#pass(request, response).catch(() => response.destroy());
    });
    this.#server.on('upgrade', (request, socket, rest) => {
      const up = connectTls({ port: this.#to, host: '127.0.0.1', rejectUnauthorized: false }, () => {
        up.write(`${request.method} ${request.url} HTTP/1.1\r\n${headersOf(request)}\r\n\r\n`);
        up.write(rest);
        up.pipe(socket);
        let left = this.faults.cutAfter * (0.5 + this.#random());
        socket.on('data', (bytes: Buffer) => {
          left -= bytes.length;
          if (this.faults.cutAfter > 0 && left < 0) {
            this.done.cut += 1;
            socket.destroy();
            up.destroy();
          } else {
            up.write(bytes);
          }
        });
      });
      const end = (): void => {
        socket.destroy();
        up.destroy();
      };
      for (const one of [socket, up]) one.on('error', end).on('close', end);
    });
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(0, '127.0.0.1', () => resolve()));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** A request, which may be harmed if it is of a viewer. */
  async #pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const body = Buffer.concat(parts);
    const harms = /\/v\/[^/]+\/(input|updates|state)/.test(request.url ?? '');
    const happens = (part: number): boolean => harms && this.#random() < part;
    if (happens(this.faults.delay)) {
      this.done.delayed += 1;
      await new Promise((resolve) => setTimeout(resolve, this.#random() * this.faults.latest));
    }
    if (happens(this.faults.drop / 2)) {
      this.done.dropped += 1;
      response.destroy();
      return;
    }
    if (request.method === 'POST' && happens(this.faults.repeat)) {
      this.done.repeated += 1;
      const again = (): void => void this.#forward(request, body).then((one) => one.resume(), () => undefined);
      setTimeout(again, this.#random() * this.faults.latest);
    }
    const answer = await this.#forward(request, body);
    if (happens(this.faults.drop / 2)) {
      this.done.lost += 1;
      answer.destroy();
      response.destroy();
      return;
    }
    this.done.passed += 1;
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    response.flushHeaders();
    answer.pipe(response);
    response.on('close', () => answer.destroy());
  }

  #forward(request: IncomingMessage, body: Buffer): Promise<IncomingMessage> {
    const { method = 'GET', url: path = '/', headers } = request;
    return new Promise((resolve, reject) => {
      const options = { host: '127.0.0.1', port: this.#to, method, path, headers, rejectUnauthorized: false };
      ask(options, resolve).on('error', reject).end(body);
    });
  }

  #random(): number {
    this.#seed = (Math.imul(this.#seed, 1664525) + 1013904223) >>> 0;
    return this.#seed / 2 ** 32;
  }
}

function headersOf(request: IncomingMessage): string {
  const lines: string[] = [];
  for (let at = 0; at < request.rawHeaders.length; at += 2) lines.push(`${request.rawHeaders[at]}: ${request.rawHeaders[at + 1]}`);
  return lines.join('\r\n');
}
