/**
 * The real console proxy with an authority, a document and a session of its own: what the management service does. Its displays are
 * QEMU's.
 */

import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash, createPrivateKey, createPublicKey, randomBytes, randomUUID, sign } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttps, request } from 'node:https';
import type { Server } from 'node:https';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Certificate } from './certificate.ts';

const DOMAIN = 'console.example';

/** What the program that is tested is. */
export const PROXY = process.env['PODZOL_CONSOLE_PROXY'];

/** The same as its template has it, without a test build's checks. */
export const OF_TEMPLATE = process.env['PODZOL_CONSOLE_PROXY_OF_TEMPLATE'];

/** How Chromium finds the names of proxies. */
export const RESOLVE = `--host-resolver-rules=MAP *.${DOMAIN} 127.0.0.1`;

export class RealProxy {
  readonly folder = mkdtempSync(join(tmpdir(), 'podzol-viewer-'));
  readonly session = randomUUID();
  readonly #server = randomUUID();
  readonly #vm = randomUUID();
  readonly #ticketKey = createPrivateKey({
    // PKCS #8 of an Ed25519 key (RFC 8410) is its 32 bytes after these.
    key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), randomBytes(32)]), format: 'der', type: 'pkcs8',
  });
  /** Where pages ask for another link. */
  resume = 'https://127.0.0.1:1';
  #process: ChildProcess | undefined;
  #generation = 0;
  #control = 0;
  #name = '';
  port = 0;
  /** How many sessions it may have. */
  sessions = 50;

  readonly #program: string;

  constructor(program = PROXY) {
    this.#program = program ?? '';
  }

  /** The process of the proxy. */
  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** Starts it, and tells it what it is. */
  async start(): Promise<void> {
    const id = randomUUID();
    this.#name = `${id}.console.podzol.internal`;
    this.#control ||= await freePort();
    this.port ||= await freePort();
    this.#authority();
    const identity = join(this.folder, 'identity');
    mkdirSync(identity, { recursive: true });
    const { chain, key } = this.#certify(this.#name);
    writeFileSync(join(identity, 'ca.pem'), this.#ca);
    writeFileSync(join(identity, 'certificate.pem'), chain);
    writeFileSync(join(identity, 'key.pem'), key, { mode: 0o600 });
    const config = join(this.folder, 'console-proxy.toml');
    writeFileSync(config, `listen = "127.0.0.1:${this.#control}"\nidentity = "${identity}"\nlog = "warn"\n`);
    this.#process = spawn(this.#program, ['--config', config], { stdio: ['ignore', 'ignore', 'inherit'] });
    const document = {
      generation: (this.#generation += 1), domain: DOMAIN, certificate: this.#certify(`*.${DOMAIN}`), ticket_keys: [this.#publicKey()],
      resume_origins: [this.resume], servers: { [this.#server]: { address: '127.0.0.1', port: this.port, max_sessions: this.sessions } },
    };
    await soon(() => this.#put('/v1/document', document));
  }

  /** Puts the session: a VM whose display is at a port here. */
  async show(rfbPort: number, changes: Record<string, unknown> = {}, session = this.session): Promise<void> {
    await soon(() => this.#put(`/v1/sessions/${session}`, {
      generation: (this.#generation += 1), server: this.#server, vm: this.#vm, vm_name: 'web-1', account: randomUUID(),
      upstream: { kind: 'rfb', address: `127.0.0.1:${rfbPort}`, security: ['none'] },
      rights: 'control', viewer: 'ada', expires_unix: Math.floor(Date.now() / 1000) + 3600, idle_secs: 600,
      resume: { url: `${this.resume}/v1/console-sessions/resume`, token: 't'.repeat(43) }, ...changes,
    }));
  }

  /** A link with a ticket. */
  link(search = '', port = this.port): string {
    return `${this.origin(port)}/${search}#${this.ticket()}`;
  }

  /** Where its pages are. */
  origin(port = this.port): string {
    return `https://127-0-0-1.${DOMAIN}:${port}`;
  }

  ticket(session = this.session): string {
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      v: 1, kid: this.#raw().subarray(0, 8).toString('base64url'), session, server: this.#server, iat: now, exp: now + 60,
      nonce: randomBytes(16).toString('base64url'),
    };
    const text = Buffer.from(JSON.stringify(claims)).toString('base64url');
    const signature = sign(null, Buffer.from(text), this.#ticketKey).toString('base64url');
    return `${text}.${signature}`;
  }

  kill(): void {
    this.#process?.kill('SIGKILL');
  }

  stop(): void {
    this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #put(path: string, body: unknown): Promise<void> {
    const { chain: cert, key } = this.#management;
    const options = {
      host: '127.0.0.1', port: this.#control, method: 'PUT', path, servername: this.#name, ca: this.#ca, cert, key,
      headers: { 'content-type': 'application/json' },
    };
    return new Promise((resolve, reject) => {
      const asked = request(options, (answer) => {
        let text = '';
        answer.on('data', (part: Buffer) => (text += part.toString()));
        answer.on('end', () => (answer.statusCode === 200 || answer.statusCode === 204 ? resolve() : reject(new Error(`${answer.statusCode} ${text}`))));
      });
      asked.on('error', reject).end(JSON.stringify(body));
    });
  }

  #raw(): Buffer {
    return createPublicKey(this.#ticketKey).export({ format: 'der', type: 'spki' }).subarray(-32);
  }

  #publicKey(): string {
    return this.#raw().toString('base64url');
  }

  #ca = '';
  #management = { chain: '', key: '' };

  #authority(): void {
    if (this.#ca) return;
    const args = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem';
    this.#openssl(args.split(' '));
    this.#ca = readFileSync(join(this.folder, 'ca.pem'), 'utf8');
    this.#management = this.#certify('management.podzol.internal');
  }

  /** A certificate for a name. */
  #certify(name: string): { chain: string; key: string } {
    const file = createHash('sha256').update(name).digest('hex').slice(0, 12);
    const asked = `req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=one -keyout ${file}.key -out ${file}.csr`;
    this.#openssl([...asked.split(' '), '-addext', `subjectAltName=DNS:${name}`]);
    this.#openssl(`x509 -req -in ${file}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out ${file}.pem`.split(' '));
    const read = (suffix: string): string => readFileSync(join(this.folder, `${file}.${suffix}`), 'utf8');
    return { chain: read('pem'), key: read('key') };
  }

  #openssl(args: string[]): void {
    execFileSync('openssl', args, { cwd: this.folder, stdio: 'pipe' });
  }
}

/** Where pages ask for another link, as the management service answers them. */
export class Resumes {
  /** What is answered; with a `url` it is a link. */
  answer: () => Record<string, unknown> = () => ({ wait: 0.5, progress: '' });
  readonly #server: Server;

  constructor(certificate: Certificate) {
    this.#server = createHttps(certificate, (request, response) => {
      const answer = this.answer();
      response.setHeader('access-control-allow-origin', request.headers.origin ?? '');
      response.setHeader('access-control-allow-headers', 'content-type');
      response.setHeader('content-type', 'application/json');
      response.writeHead('url' in answer ? 200 : 202).end(JSON.stringify(answer));
    });
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(0, '127.0.0.1', () => resolve()));
  }

  get origin(): string {
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export async function soon<Found>(find: () => Promise<Found>): Promise<Found> {
  for (let left = 600; ; left -= 1) {
    try {
      return await find();
    } catch (error) {
      if (left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
