/**
 * Text that the page types, at a pace that the VM can take: firmware and text consoles lose keys that come too fast.
 */

import { sleep } from '../line/request.ts';
import { character, keysym } from './keysyms.ts';
import { strokesOf } from './layouts.ts';
import type { LayoutName } from './layouts.ts';
import { scancode } from './scancodes.ts';

/** A key, and what is held while it is pressed. */
export interface Stroke {
  readonly code: string;
  readonly shift: boolean;
  readonly altGr: boolean;
}

/** A key event. */
export interface Key {
  readonly kind: 'down' | 'up';
  readonly scancode: number;
  readonly keysym: number;
}

/** A text as key events, character by character; and the characters that the layout does not have, each once. */
export interface Typed {
  readonly characters: readonly (readonly Key[])[];
  readonly missing: readonly string[];
}

/** Key events in a second: a character takes two, and two more for each key that is held with it. QEMU gives its VM a hundred. */
export const PACES = { slow: 16, medium: 50, fast: 90 } as const;
export type Pace = keyof typeof PACES;

/** Milliseconds between looks at how far it should be. */
const TICK = 12;

/** Events that may wait to be sent: while the line is slow, no more are typed. */
const MOST_WAITING = 48;

/** Works out the keys of a text on a layout, or by their symbols if the server takes no scancodes. */
export function typed(text: string, layout: LayoutName, keys: 'scancodes' | 'keysyms'): Typed {
  const known = strokesOf(layout);
  const missing = new Set<string>();
  const characters: Key[][] = [];
  for (const one of text.replaceAll('\r\n', '\n').replaceAll('\r', '\n').normalize('NFC')) {
    const strokes = known.get(one);
    if (keys === 'keysyms' && character(one) !== 0) characters.push(press([{ scancode: 0, keysym: character(one) }]));
    else if (strokes) characters.push(strokes.flatMap((stroke) => pressed(stroke, one)));
    else missing.add(one);
  }
  return { characters, missing: [...missing] };
}

export interface Typing {
  readonly pace: Pace;
  readonly signal: AbortSignal;
  send(key: Key): void;
  /** How many events are not known to be applied. */
  waiting(): number;
  progress(done: number): void;
}

/** Types until all is done or the signal ends it; no key stays down. */
export async function type({ characters }: Typed, { pace, signal, send, waiting, progress }: Typing): Promise<void> {
  // How many events may be sent; less than none after a character that took more.
  let [done, free] = [0, 1];
  let last = performance.now();
  while (done < characters.length) {
    signal.throwIfAborted();
    for (; done < characters.length && free > 0 && waiting() < MOST_WAITING; done += 1) {
      const keys = characters[done] ?? [];
      keys.forEach(send);
      free -= keys.length;
    }
    progress(done);
    if (done < characters.length) await sleep(TICK, signal);
    const now = performance.now();
    // What could not be typed in time is not made up for.
    free = Math.min(free + ((now - last) / 1000) * PACES[pace], 1 + PACES[pace] / 10);
    last = now;
  }
}

function pressed({ code, shift, altGr }: Stroke, text: string): Key[] {
  const key = { scancode: scancode(code), keysym: character(text) };
  const held = [
    ...(shift ? [{ scancode: scancode('ShiftLeft'), keysym: keysym('Shift') }] : []),
    ...(altGr ? [{ scancode: scancode('AltRight'), keysym: keysym('AltGraph') }] : []),
  ];
  return press([...held, key]);
}

/** Presses keys, and lets them go in the opposite order. */
function press(keys: readonly { scancode: number; keysym: number }[]): Key[] {
  const down = keys.map((key) => ({ kind: 'down' as const, ...key }));
  return [...down, ...keys.map((key) => ({ kind: 'up' as const, ...key })).reverse()];
}
