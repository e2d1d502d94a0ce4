/** A VM whose guest draws what it is told to: `console-proxy/scenes`. */

import { execFileSync } from 'node:child_process';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { Machine } from './machine.ts';
import { soon } from './proxy.ts';

const SOURCE = fileURLToPath(new URL('../../../scenes/main.rs', import.meta.url));

/** For a program that runs on nothing but the machine. */
const BUILD = [
  '--edition', '2024', '-O', '--crate-type', 'bin', '-C', 'codegen-units=1', '-C', 'panic=abort', '-C', 'relocation-model=static',
  ...['-nostdlib', '-nostartfiles', '-static', '-no-pie'].flatMap((arg) => ['-C', `link-arg=${arg}`]),
];

export class Guest extends Machine {
  #serial: Socket | undefined;
  #line = '';
  /** Lines that came and nobody has taken. */
  #lines: string[] = [];
  #runs = false;
  #heard: () => void = () => undefined;

  /** Starts it, and waits until it takes commands. */
  override async start(): Promise<void> {
    await super.start();
    const path = join(this.folder, 'serial');
    const open = (): Promise<Socket> =>
      new Promise((resolve, reject) => {
        const socket = connect(path, () => resolve(socket)).on('error', reject);
      });
    this.#serial = await soon(open);
    const ready = this.until(/^(ready|unknown)$/);
    this.#serial.on('data', (bytes: Buffer) => {
      const lines = (this.#line + bytes.toString()).split('\n');
      this.#line = lines.pop() ?? '';
      this.#lines.push(...lines);
      this.#heard();
    });
    // It may have said that it is ready before anybody listened.
    this.#serial.write('scene\n');
    await ready;
  }

  protected override contents(): string[] {
    const program = join(this.folder, 'scenes');
    execFileSync('rustc', [...BUILD, SOURCE, '-o', program], { stdio: ['ignore', 'ignore', 'inherit'] });
    return ['-m', '48', '-kernel', program, '-serial', `unix:${join(this.folder, 'serial')},server=on,wait=off`];
  }

  /** Begins a scene, after the one that still runs is ended, and waits until its first picture is on the screen. */
  async begin(name: string, seed: number, milliseconds: number, then: 'goes on' | 'holds' = 'goes on'): Promise<void> {
    if (this.#runs) await this.end();
    const begun = this.until(/^(begun|unknown)$/);
    this.#serial?.write(`scene ${name} ${seed} ${milliseconds}${then === 'holds' ? ' hold' : ''}\n`);
    if ((await begun) !== 'begun') throw new Error(`there is no scene ${name}`);
    this.#runs = true;
  }

  /** Has a scene that holds go on. */
  go(): void {
    this.#serial?.write('go\n');
  }

  /** Ends the scene. */
  async end(): Promise<void> {
    const over = this.over();
    this.#serial?.write('end\n');
    await over;
  }

  /** Waits until the scene is over, and the screen at rest: how many steps it had. */
  async over(): Promise<number> {
    const line = await this.until(/^over /);
    this.#runs = false;
    return Number(line.split(' ')[2]);
  }

  /** Takes lines until there is one like that. One asks at a time. */
  until(what: RegExp): Promise<string> {
    return new Promise((resolve) => {
      this.#heard = () => {
        for (let line = this.#lines.shift(); line !== undefined; line = this.#lines.shift()) {
          if (line.startsWith('panicked') || line.includes('!')) console.log(`the guest: ${line}`);
          if (what.test(line)) {
            this.#heard = () => undefined;
            resolve(line);
            return;
          }
        }
      };
      this.#heard();
    });
  }

  /** Has its processor stand still: QEMU goes on to show what there is. */
  async pause(): Promise<void> {
    await this.ask('stop');
  }

  async resume(): Promise<void> {
    await this.ask('cont');
  }

  override stop(): void {
    this.#serial?.destroy();
    super.stop();
  }
}
