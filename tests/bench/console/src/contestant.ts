/** Who is measured: a server between QEMU's display and a page, and that page. */

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { certificate } from '../../../../console-proxy/viewer/tests/browser/certificate.ts';
import { RealProxy, freePort, soon } from '../../../../console-proxy/viewer/tests/browser/proxy.ts';

export interface Contestant {
  readonly name: string;
  /** Where its canvas is on the page. */
  readonly canvas: string;
  start(display: number): Promise<void>;
  stop(): void;
  /** The port that pages connect to. */
  readonly port: number;
  /** A link, through a port that leads to that. */
  link(port: number, way?: string): string;
  /** All its processes. */
  pids(): number[];
}

/** Podzol's proxy. */
export class Podzol implements Contestant {
  readonly name = 'Podzol';
  readonly canvas = '#picture';
  readonly proxy = new RealProxy();

  async start(display: number): Promise<void> {
    this.proxy.sessions = 2000;
    await this.proxy.start();
    // Nobody types for most of the time.
    const hours = 3 * 3600;
    await this.proxy.show(display, { idle_secs: hours, expires_unix: Math.floor(Date.now() / 1000) + hours });
  }

  stop(): void {
    this.proxy.stop();
  }

  get port(): number {
    return this.proxy.port;
  }

  link(port: number, way = ''): string {
    return this.proxy.link(way === '' ? '' : `?transport=${way}`, port);
  }

  pids(): number[] {
    return [this.proxy.pid];
  }
}

/** noVNC and websockify, over TLS too. websockify has a process for each page. */
export class NoVnc implements Contestant {
  readonly name = 'noVNC';
  readonly canvas = '#screen canvas';
  readonly #folder = mkdtempSync(join(tmpdir(), 'podzol-novnc-'));
  #process: ChildProcess | undefined;
  port = 0;

  async start(display: number): Promise<void> {
    const program = process.env['WEBSOCKIFY'];
    if (!program) throw new Error('WEBSOCKIFY is not set: where websockify 0.13 is');
    this.port = await freePort();
    const { cert, key } = certificate();
    writeFileSync(join(this.#folder, 'pem'), Buffer.concat([cert, key]), { mode: 0o600 });
    const web = join(import.meta.dirname ?? '.', 'novnc');
    const args = ['--cert', join(this.#folder, 'pem'), '--ssl-only', '--web', web, `127.0.0.1:${this.port}`, `127.0.0.1:${display}`];
    this.#process = spawn(program, args, { stdio: 'ignore' });
    await soon(
      () =>
        new Promise<void>((resolve, reject) => {
          const socket = connect(this.port, '127.0.0.1', () => resolve(void socket.destroy())).on('error', reject);
        }),
    );
  }

  stop(): void {
    // Its processes for pages go with their connections.
    this.#process?.kill('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  link(port: number): string {
    return `https://localhost:${port}/index.html`;
  }

  pids(): number[] {
    const own = this.#process?.pid ?? 0;
    return [own, ...children(own)];
  }
}

/** Processes that a process has begun (proc(5)). */
function children(of: number): number[] {
  return readFileSync(`/proc/${of}/task/${of}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
}
