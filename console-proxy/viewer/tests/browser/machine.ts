/** A VM of QEMU with a sector that echoes what is typed and nothing else, and what QEMU itself says that it shows. */

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { freePort, soon } from './proxy.ts';

/** For a PC's BIOS, in text mode: each key's character is shown, Enter begins a line. */
const ECHO = Buffer.from([
  0xb8, 0x03, 0x00, 0xcd, 0x10, // mov ax,3; int 10h: text, and an empty screen
  0xb4, 0x00, 0xcd, 0x16, // next: mov ah,0; int 16h: a key
  0xb4, 0x0e, 0xb7, 0x00, 0xb3, 0x07, 0xcd, 0x10, // mov ah,0eh; mov bh,0; mov bl,7; int 10h: shown
  0x3c, 0x0d, 0x75, 0xf0, // cmp al,13; jne next
  0xb0, 0x0a, 0xcd, 0x10, 0xeb, 0xea, // mov al,10; int 10h; jmp next
]);

/** Asks VMware's mouse, which QEMU has, to take places on the screen, as a system's driver does: a tablet of USB needs one that runs. */
const ABSOLUTE = Buffer.from([
  0x66, 0xb8, 0x68, 0x58, 0x4d, 0x56, // mov eax,564d5868h
  0x66, 0xbb, 0x52, 0x45, 0x41, 0x45, // mov ebx,45414552h: who are you?
  0x66, 0xb9, 0x29, 0x00, 0x00, 0x00, // mov ecx,29h
  0xba, 0x58, 0x56, 0x66, 0xed, // mov dx,5658h; in eax,dx
  0x66, 0xb8, 0x68, 0x58, 0x4d, 0x56, // mov eax,564d5868h
  0x66, 0xbb, 0x52, 0x41, 0x42, 0x53, 0x66, 0xed, // mov ebx,53424152h: absolute; in eax,dx
]);

export class Machine {
  protected readonly folder = mkdtempSync(join(tmpdir(), 'podzol-vm-'));
  #process: ChildProcess | undefined;
  #monitor: Socket | undefined;
  #answers: ((answer: unknown) => void)[] = [];
  /** Where its display is. */
  port = 0;
  /** Whether it notes what keyboard and pointer do. */
  readonly #notes: boolean;

  constructor(notes: 'notes input' | 'notes nothing' = 'notes nothing') {
    this.#notes = notes === 'notes input';
  }

  async start(): Promise<void> {
    const monitor = join(this.folder, 'monitor');
    this.port = await freePort();
    const display = `127.0.0.1:${this.port - 5900}`;
    const args = ['-name', 'machine,debug-threads=on', '-accel', 'tcg', '-nodefaults', '-vga', 'std', '-display', 'none', '-vnc', display];
    args.push('-qmp', `unix:${monitor},server=on,wait=off`, '-usb', '-device', 'usb-tablet', ...this.contents());
    if (this.#notes) args.push('-D', this.#input, ...['key_qcode', 'btn', 'abs'].flatMap((kind) => ['-trace', `input_event_${kind}`]));
    // Keys wait in QEMU for its timer, and clicks do not: where it is kept from the processor for long, they come in another order.
    const command = this.#notes ? ['nice', '-n', '-15', 'qemu-system-x86_64'] : ['qemu-system-x86_64'];
    this.#process = spawn(command[0] ?? '', [...command.slice(1), ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
    this.#monitor = await soon(
      () =>
        new Promise<Socket>((resolve, reject) => {
          const socket = connect(monitor, () => resolve(socket)).on('error', reject);
        }),
    );
    let text = '';
    this.#monitor.on('data', (bytes: Buffer) => {
      text += bytes.toString();
      const lines = text.split('\r\n');
      text = lines.pop() ?? '';
      for (const line of lines) {
        const said = JSON.parse(line) as Record<string, unknown>;
        if ('return' in said || 'error' in said) this.#answers.shift()?.(said);
      }
    });
    await this.ask('qmp_capabilities');
  }

  /** The process of QEMU. */
  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** What QEMU runs in it. */
  protected contents(): string[] {
    const sector = Buffer.alloc(512 * 2880);
    Buffer.concat([...(this.#notes ? [ABSOLUTE] : []), ECHO]).copy(sector);
    sector.writeUInt16LE(0xaa55, 510);
    const disk = join(this.folder, 'disk');
    writeFileSync(disk, sector);
    return ['-m', '16', '-drive', `if=floppy,format=raw,file=${disk}`, '-boot', 'a'];
  }

  /** Red, green and blue of all pixels, row by row, as QEMU has them. */
  async screen(): Promise<{ width: number; height: number; samples: Buffer }> {
    const file = join(this.folder, 'screen.ppm');
    await this.ask('screendump', { filename: file });
    const bytes = readFileSync(file);
    const head = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.toString('latin1', 0, 40));
    if (!head) throw new Error('no picture');
    return { width: Number(head[1]), height: Number(head[2]), samples: bytes.subarray(head[0].length) };
  }

  get #input(): string {
    return join(this.folder, 'input');
  }

  /**
   * What QEMU has given to the VM's keyboard and pointer, as it says itself: `down a`, `up a`, and for each change of the left button
   * where the pointer was then, on a screen of that size: `down 10,20`.
   */
  given(width: number, height: number): string[] {
    const [given, at]: [string[], { x: number; y: number }] = [[], { x: 0, y: 0 }];
    for (const line of this.#noted()) {
      const [, axis, value] = /input_event_abs .*axis (\w), value 0x(\w+)/.exec(line) ?? [];
      if (axis === 'x' || axis === 'y') at[axis] = Math.ceil((parseInt(value ?? '', 16) * (axis === 'x' ? width : height)) / 0x7fff);
      const [, key, isDown] = /input_event_key_qcode .*qcode (\w+), down (\d)/.exec(line) ?? [];
      if (key) given.push(`${isDown === '1' ? 'down' : 'up'} ${key}`);
      const [, button, isPressed] = /input_event_btn .*button (\w+), down (\d)/.exec(line) ?? [];
      if (button) given.push(`${isPressed === '1' ? 'down' : 'up'} ${button === 'left' ? '' : button}${at.x},${at.y}`);
    }
    return given;
  }

  /** Whether its pointer has been told a place on the screen, and not only ways. */
  hasPlaces(): boolean {
    return this.#noted().some((line) => line.startsWith('input_event_abs'));
  }

  #noted(): string[] {
    return existsSync(this.#input) ? readFileSync(this.#input, 'latin1').split('\n') : [];
  }

  /** Starts anew, as when its reset button is pressed. */
  async reset(): Promise<void> {
    await this.ask('system_reset');
  }

  stop(): void {
    this.#process?.kill('SIGKILL');
    this.#monitor?.destroy();
    rmSync(this.folder, { recursive: true, force: true });
  }

  protected ask(execute: string, args: Record<string, unknown> = {}): Promise<unknown> {
    return new Promise((resolve) => {
      this.#answers.push(resolve);
      this.#monitor?.write(JSON.stringify({ execute, arguments: args }));
    });
  }
}
