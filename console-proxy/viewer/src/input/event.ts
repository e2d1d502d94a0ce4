/** Events of input and batches of them, as `PROTOCOL.md` describes them ("Input"). */

import type { Bytes } from '../line/request.ts';

/** What a user did. */
export type InputEvent =
  | { readonly kind: 'down' | 'up'; readonly scancode: number; readonly keysym: number }
  | { readonly kind: 'pointer'; readonly buttons: number; readonly x: number; readonly y: number }
  | { readonly kind: 'move'; readonly buttons: number; readonly right: number; readonly down: number }
  | { readonly kind: 'release' }
  | { readonly kind: 'clipboard'; readonly text: string };

/** What a batch says beside its events. */
export interface BatchHead {
  /** The page cannot be seen now. */
  readonly hidden: boolean;
  /** The user says that they are still here. */
  readonly here: boolean;
  /** The last update that was applied. */
  readonly after: number;
  /** The number of the first event here, or that the next one will have. */
  readonly first: number;
}

const VERSION = 1;
const HIDDEN = 1;
const HERE = 2;

const KINDS = { down: 1, up: 2, pointer: 3, move: 4, release: 5, clipboard: 6 } as const;

/** The bytes of a batch. */
export function batch(head: BatchHead, events: readonly Uint8Array[]): Bytes {
  const flags = (head.hidden ? HIDDEN : 0) | (head.here ? HERE : 0);
  const start = [VERSION, flags, ...number(head.after), ...number(head.first)];
  const bytes = new Uint8Array(events.reduce((sum, event) => sum + event.length, start.length));
  bytes.set(start);
  let at = start.length;
  for (const event of events) {
    bytes.set(event, at);
    at += event.length;
  }
  return bytes;
}

/** The bytes of an event. */
export function encode(event: InputEvent): Uint8Array {
  const kind = KINDS[event.kind];
  switch (event.kind) {
    case 'down':
    case 'up':
      return Uint8Array.from([kind, ...number(event.scancode), ...number(event.keysym)]);
    case 'pointer':
      return Uint8Array.from([kind, event.buttons, ...number(event.x), ...number(event.y)]);
    case 'move':
      return Uint8Array.from([kind, event.buttons, ...signed(event.right), ...signed(event.down)]);
    case 'release':
      return Uint8Array.from([kind]);
    case 'clipboard': {
      const text = new TextEncoder().encode(event.text);
      const head = [kind, ...number(text.length)];
      const bytes = new Uint8Array(head.length + text.length);
      bytes.set(head);
      bytes.set(text, head.length);
      return bytes;
    }
  }
}

/** One event that stands for two that follow one another; undefined if both must be told. */
export function merged(before: InputEvent, event: InputEvent): InputEvent | undefined {
  if (before.kind === 'pointer' && event.kind === 'pointer' && before.buttons === event.buttons) return event;
  if (before.kind === 'move' && event.kind === 'move' && before.buttons === event.buttons) {
    return { ...event, right: before.right + event.right, down: before.down + event.down };
  }
  return undefined;
}

/** Seven bits a byte, the lowest first. */
export function number(value: number): number[] {
  const bytes: number[] = [];
  let left = value;
  for (; left > 0x7f; left = Math.floor(left / 128)) bytes.push((left % 128) | 0x80);
  return [...bytes, left];
}

/** 0, -1, 1, -2, ... */
function signed(value: number): number[] {
  return number(value < 0 ? -value * 2 - 1 : value * 2);
}
