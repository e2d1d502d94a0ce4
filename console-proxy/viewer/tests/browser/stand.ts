/**
 * Stands in for a console proxy and, for *resume*, for the management service: it says what `PROTOCOL.md` says, shows chains of
 * bodies and keeps what it is told. Tests against the real proxy are in `real.test.ts`; what only something that can be stopped,
 * held up and asked can show is here.
 */

import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { extname, join } from 'node:path';

import { WebSocketServer } from 'ws';
import type { WebSocket } from 'ws';

import { Reader } from '../../src/body/reader.ts';
import { head } from '../../src/body/update.ts';
import { VIEWER } from '../corpus.ts';
import type { Certificate } from './certificate.ts';
import { StandViewer } from './viewer.ts';

export const DIST = join(VIEWER, 'dist');

const TYPES: Record<string, string> = { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

/** Seconds for which a poll waits: few, so that tests see polls end. */
const WAIT = 3;

/** What a request is for. */
interface Path {
  readonly name: string;
  readonly viewer: string;
  readonly rest: string;
  readonly after: number;
  readonly first: number;
  readonly poll: number;
  readonly resume: boolean;
}

export class Stand {
  readonly session = randomUUID();
  readonly viewers = new Map<string, StandViewer>();
  /** All that was asked, as `GET path`, without what is behind `?`. */
  readonly asked: string[] = [];
  /** Events of all viewers, in the order in which they were applied. */
  readonly events: string[] = [];
  readonly serial = { out: Buffer.alloc(0), typed: '' };
  /** Ways that do not work: what is between answers nothing. */
  readonly broken = new Set<'socket' | 'stream'>();
  /** What `POST /session` and the rest are refused with. */
  refuses: { status: number; code: string; reason?: string } | undefined;
  /** Whether the answer to the first `POST /session` is lost on its way, after which its ticket was used. */
  loses: 'never' | 'once' | 'answered' = 'never';
  /** Answers to *resume*, the last one for all that come after. */
  resumes: { status: number; json: unknown }[] = [];
  state: Record<string, unknown> = {
    number: 1, line: 'on', reason: null, rights: 'control', keys: 'scancodes', pointer: 'absolute',
    leds: { caps: false, num: false, scroll: false }, bells: 0, clipboard: { number: 0, bytes: 0 }, serial: 'on',
    viewers: [{ name: 'ada', rights: 'control', you: true, sessions_own: true }],
  };
  bodies: Uint8Array[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Duplex>();
  readonly #upgrades = new WebSocketServer({ noServer: true });
  #cookie = randomBytes(32).toString('base64url');

  constructor(certificate: Certificate) {
    this.#server = createServer(certificate, (request, response) => {
      this.#answer(request, response).catch(() => response.destroy());
    });
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    this.#server.on('upgrade', (request, socket, rest) => {
      this.#note(request);
      if (this.broken.has('socket')) return;
      const path = this.#path(request);
      const viewer = this.viewers.get(path.viewer);
      if (!viewer || this.refuses || !this.#known(request)) {
        socket.end('HTTP/1.1 404 Not Found\r\n\r\n');
        return;
      }
      this.#upgrades.handleUpgrade(request, socket, rest, (line) => {
        if (path.rest === 'serial/socket') this.#serialSocket(line, path.after);
        else viewer.socket(line, path.after);
      });
    });
  }

  listen(port = 0): Promise<void> {
    return new Promise((resolve) => this.#server.listen(port, '127.0.0.1', () => resolve()));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get origin(): string {
    return `https://localhost:${this.port}`;
  }

  link(search = ''): string {
    const claims = Buffer.from(JSON.stringify({ session: this.session })).toString('base64url');
    return `${this.origin}/${search}#${claims}.${randomBytes(8).toString('base64url')}`;
  }

  /** Cuts all connections, as a network does that is lost. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.cut();
    await closed;
  }

  /** Shows what is to be seen. */
  show(bodies: readonly Uint8Array[]): void {
    this.bodies = [...bodies];
    for (const viewer of this.viewers.values()) viewer.pump();
  }

  /** One more update. */
  push(...bodies: Uint8Array[]): void {
    this.show([...this.bodies, ...bodies]);
  }

  set(changes: Record<string, unknown>): void {
    this.state = { ...this.state, ...changes, number: Number(this.state['number']) + 1 };
    for (const viewer of this.viewers.values()) viewer.told();
  }

  /** The state as a viewer is told it. */
  told(): Record<string, unknown> {
    const now = Math.floor(Date.now() / 1000);
    return { now, ends: now + 86_400, idle_ends: now + 1800, draining: false, ...this.state };
  }

  say(text: string): void {
    this.serial.out = Buffer.concat([this.serial.out, Buffer.from(text)]);
  }

  /** Forgets a session, as a proxy does that has begun anew. */
  forget(): void {
    this.#cookie = randomBytes(32).toString('base64url');
    this.viewers.clear();
    this.cut();
  }

  /** Number of the update after the one that a viewer has. */
  after(number: number): number {
    return this.bodies.findIndex((body) => head(new Reader(body)).number > number);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#note(request);
    this.#headers(request, response);
    const path = this.#path(request);
    if (request.method === 'OPTIONS' || path.name === '/v1/resume') return this.#resume(request, response);
    if (request.method === 'GET' && (path.name === '/' || /^\/s\/[^/]+$/.test(path.name))) return file(response, 'index.html');
    if (path.name.startsWith('/assets/')) return file(response, path.name);
    if (this.refuses) return refuse(response, this.refuses);
    const body = await posted(request);
    if (path.name === '/session') return this.#exchange(response);
    if (!this.#known(request)) return refuse(response, { status: 401, code: 'session_unknown' });
    if (path.name === `/s/${this.session}/viewers`) return this.#open(response);
    const viewer = this.viewers.get(path.viewer);
    if (!viewer) return refuse(response, { status: 404, code: 'viewer_unknown' });
    return this.#viewer(viewer, path, body, request, response);
  }

  async #viewer(
    viewer: StandViewer, path: Path, body: Buffer, request: IncomingMessage, response: ServerResponse,
  ): Promise<void> {
    switch (`${request.method} ${path.rest}`) {
      case 'GET updates':
        if (!viewer.isNew(path.poll) && !path.resume) return refuse(response, { status: 409, code: 'repeated' });
        return viewer.poll(path.after, path.resume, response, WAIT);
      case 'GET stream':
        return this.broken.has('stream') ? undefined : viewer.stream(path.after, response);
      case 'POST input':
        return json(response, 200, { applied: await viewer.input(body) });
      case 'GET state':
        return viewer.state(path.after, response, WAIT);
      case 'GET clipboard':
        response.setHeader('content-type', 'text/plain; charset=utf-8');
        response.end('what the VM copied');
        return;
      case 'POST leave':
        this.viewers.delete(path.viewer);
        response.writeHead(204).end();
        return;
      case 'GET serial':
      case 'GET serial/stream':
        return this.#serial(path.after, response, path.rest === 'serial/stream');
      case 'POST serial/input':
        this.#type(path.first, body);
        return json(response, 200, { applied: this.serial.typed.length });
      default:
        return refuse(response, { status: 404, code: 'not_found' });
    }
  }

  #exchange(response: ServerResponse): void {
    if (this.loses === 'answered') return refuse(response, { status: 401, code: 'ticket_used' });
    if (this.loses === 'never') return this.#open(response);
    this.loses = 'answered';
    response.setHeader('set-cookie', this.#cookieHeader);
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 });
    response.write('{', () => response.destroy());
  }

  get #cookieHeader(): string {
    return `__Host-podzol-${this.session}=${this.#cookie}; Secure; HttpOnly; SameSite=Strict; Path=/`;
  }

  #open(response: ServerResponse): void {
    const id = randomBytes(16).toString('base64url');
    this.viewers.set(id, new StandViewer(this));
    response.setHeader('set-cookie', this.#cookieHeader);
    json(response, 200, {
      protocol: 1, session: this.session, viewer: id, vm: { id: randomUUID(), name: 'web-1' },
      rights: this.state['rights'], resume: { url: `https://127.0.0.1:${this.port}/v1/resume`, token: 'token' },
      limits: { batch_bytes: 65536, clipboard_bytes: 262144, polls: 3, wait_secs: WAIT, serial_bytes: 16384 },
      state: this.told(),
    });
  }

  #resume(request: IncomingMessage, response: ServerResponse): void {
    response.setHeader('access-control-allow-origin', request.headers.origin ?? '*');
    response.setHeader('access-control-allow-headers', 'content-type');
    if (request.method === 'OPTIONS') {
      response.writeHead(204).end();
      return;
    }
    const next = this.resumes.length > 1 ? this.resumes.shift() : this.resumes[0];
    json(response, next?.status ?? 503, next?.json ?? {});
  }

  async #serial(after: number, response: ServerResponse, stream: boolean): Promise<void> {
    const until = Date.now() + WAIT * 1000;
    while (!stream && this.serial.out.length <= after && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
    response.setHeader('podzol-from', after);
    if (!stream) {
      response.writeHead(this.serial.out.length > after ? 200 : 204).end(this.serial.out.subarray(after));
      return;
    }
    let sent = after;
    response.flushHeaders();
    const timer = setInterval(() => {
      response.write(this.serial.out.subarray(sent));
      sent = this.serial.out.length;
    }, 20);
    response.on('close', () => clearInterval(timer));
  }

  #serialSocket(line: WebSocket, after: number): void {
    let sent = after;
    line.send(JSON.stringify({ from: after }));
    const timer = setInterval(() => {
      if (this.serial.out.length > sent) line.send(this.serial.out.subarray(sent));
      sent = this.serial.out.length;
    }, 20);
    const alive = setInterval(() => line.send('{}'), 5000);
    line.on('close', () => {
      clearInterval(timer);
      clearInterval(alive);
    });
    line.on('message', (message: Buffer) => {
      const reader = new Reader(message);
      const first = reader.number();
      this.#type(first, Buffer.from(reader.take(reader.left)));
      line.send(JSON.stringify({ applied: this.serial.typed.length }));
    });
  }

  #type(first: number, bytes: Buffer): void {
    const have = this.serial.typed.length;
    if (first <= have) this.serial.typed += bytes.subarray(have - first).toString('latin1');
  }

  #known(request: IncomingMessage): boolean {
    return request.headers.cookie?.includes(this.#cookie) ?? false;
  }

  #note(request: IncomingMessage): void {
    this.asked.push(`${request.method} ${(request.url ?? '').split('?')[0]}`);
  }

  #path(request: IncomingMessage): Path {
    const url = new URL(request.url ?? '', this.origin);
    const [, viewer = '', rest = ''] = /^\/s\/[^/]+\/v\/([^/]+)\/(.*)$/.exec(url.pathname) ?? [];
    const number = (name: string): number => Number(url.searchParams.get(name) ?? 0);
    return { name: url.pathname, viewer, rest, after: number('after'), first: number('first'), poll: number('poll'), resume: url.searchParams.has('resume') };
  }

  #headers(request: IncomingMessage, response: ServerResponse): void {
    const host = request.headers.host ?? '';
    const policy = [
      "default-src 'none'", "script-src 'self'", "style-src 'self' 'nonce-stand'", "img-src 'self' blob: data:", "font-src 'self'",
      "worker-src 'self' blob:", `connect-src 'self' wss://${host} https://127.0.0.1:*`, "base-uri 'none'", "form-action 'none'",
      "frame-ancestors 'none'",
    ];
    response.setHeader('content-security-policy', policy.join('; '));
    response.setHeader('cache-control', 'no-store');
    response.setHeader('x-content-type-options', 'nosniff');
  }
}

function file(response: ServerResponse, name: string): void {
  const path = join(DIST, name);
  if (!existsSync(path)) return refuse(response, { status: 404, code: 'not_found' });
  response.setHeader('content-type', TYPES[extname(name)] ?? 'text/html; charset=utf-8');
  response.end(name === 'index.html' ? readFileSync(path, 'utf8').replaceAll('__PODZOL_NONCE__', 'stand') : readFileSync(path));
}

export function json(response: ServerResponse, status: number, value: unknown): void {
  response.setHeader('content-type', 'application/json');
  response.writeHead(status).end(JSON.stringify(value));
}

function refuse(response: ServerResponse, { status, code, reason }: { status: number; code: string; reason?: string }): void {
  json(response, status, { code, message: code, reason });
}

async function posted(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
