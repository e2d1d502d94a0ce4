import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { LAYOUTS, strokesOf } from '../../src/keyboard/layouts.ts';
import type { LayoutName } from '../../src/keyboard/layouts.ts';
import { scancode } from '../../src/keyboard/scancodes.ts';
import { type, typed } from '../../src/keyboard/typing.ts';
import type { Key } from '../../src/keyboard/typing.ts';

const NAMES = Object.keys(LAYOUTS) as LayoutName[];

/** How a character is typed: `^` is Shift, `~` AltGr. */
const how = (layout: LayoutName, character: string): string =>
  (strokesOf(layout).get(character) ?? []).map(({ code, shift, altGr }) => `${shift ? '^' : ''}${altGr ? '~' : ''}${code}`).join(' ');

describe.each(NAMES)('%s', (name) => {
  it('has a place for all of its keys', () => {
    const { plain, shift } = LAYOUTS[name];
    expect([[...plain].length, [...shift].length]).toEqual([48, 48]);
    for (const strokes of strokesOf(name).values()) for (const { code } of strokes) expect(scancode(code)).toBeGreaterThan(0);
  });

  it('types all that is in ASCII', () => {
    const ascii = Array.from({ length: 0x7e - 0x20 + 1 }, (_, at) => String.fromCharCode(0x20 + at));
    expect(ascii.filter((one) => how(name, one) === '')).toEqual([]);
  });
});

it.each<[LayoutName, string, string]>([
  ['us', '~', '^Backquote'], ['us', '|', '^Backslash'], ['gb', '#', 'Backslash'], ['gb', '|', '^IntlBackslash'], ['gb', '"', '^Digit2'],
  ['gb', 'é', '~KeyE'], ['gb', '£', '^Digit3'], ['de', 'z', 'KeyY'], ['de', '@', '~KeyQ'], ['de', '€', '~KeyE'], ['de', '~', '~BracketRight'],
  ['de', '|', '~IntlBackslash'], ['de', '\\', '~Minus'], ['de', '^', 'Backquote Space'], ['de', '`', '^Equal Space'], ['de', 'é', 'Equal KeyE'],
  ['de', 'Â', 'Backquote ^KeyA'], ['de', 'ß', 'Minus'], ['de', 'µ', '~KeyM'], ['fr', 'a', 'KeyQ'], ['fr', '1', '^Digit1'], ['fr', '@', '~Digit0'],
  ['fr', 'ê', 'BracketLeft KeyE'], ['fr', 'ë', '^BracketLeft KeyE'], ['fr', '^', '~Digit9'], ['fr', 'm', 'Semicolon'], ['fr', '.', '^Comma'],
  ['fr', '!', 'Slash'], ['fr', '<', 'IntlBackslash'], ['es', 'ñ', 'Semicolon'], ['es', '@', '~Digit2'], ['es', 'á', 'Quote KeyA'], ['es', '[', '~BracketLeft'],
  ['es', '{', '~Quote'], ['es', '}', '~Backslash'], ['es', '€', '~KeyE'], ['es', '^', '^BracketLeft Space'], ['es', '¿', '^Equal'], ['es', 'ü', '^Quote KeyU'],
  ['it', '@', '~Semicolon'], ['it', '#', '~Quote'], ['it', '[', '~Digit8'], ['it', '~', '~Equal'],
])('%s types %s as %s', (layout, character, expected) => expect(how(layout, character)).toBe(expected));

describe('texts', () => {
  it('begin lines alike, whatever ends them', () => {
    const keys = (text: string) => typed(text, 'us', 'scancodes').characters.map(([key]) => key?.scancode);
    expect(keys('a\r\nb\rc\n\t')).toEqual([0x1e, 0x1c, 0x30, 0x1c, 0x2e, 0x1c, 0x0f]);
  });

  it('tell each character once that is missing', () => {
    expect(typed('ñaña€', 'us', 'scancodes').missing).toEqual(['ñ', '€']);
  });

  it('go by what they mean where a server takes no scancodes', () => {
    const { characters, missing } = typed('ñ\u0007', 'us', 'keysyms');
    expect(characters).toEqual([[{ kind: 'down', scancode: 0, keysym: 0xf1 }, { kind: 'up', scancode: 0, keysym: 0xf1 }]]);
    expect(missing).toEqual(['\u0007']);
  });

  it('are composed before they are typed', () => {
    expect(typed('e\u0301', 'de', 'scancodes').missing).toEqual([]);
  });
});

describe('typing', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  const begin = (text: string, waiting: () => number = () => 0) => {
    const [sent, turn] = [[] as Key[], new AbortController()];
    let done = 0;
    const typing = type(typed(text, 'us', 'scancodes'), {
      pace: 'medium', signal: turn.signal, send: (key) => sent.push(key), waiting, progress: (now) => (done = now),
    });
    return { sent, turn, typing, done: () => done };
  };

  it('keeps its pace', async () => {
    const { typing, done } = begin('x'.repeat(100));
    await vi.advanceTimersByTimeAsync(2000);
    expect(done()).toBeGreaterThan(45);
    expect(done()).toBeLessThan(55);
    await vi.advanceTimersByTimeAsync(3000);
    await typing;
    expect(done()).toBe(100);
  });

  it('counts what is held with a key', async () => {
    const { sent, turn, typing } = begin('X'.repeat(100));
    await vi.advanceTimersByTimeAsync(4000);
    expect(sent.length).toBeGreaterThan(190);
    expect(sent.length).toBeLessThan(215);
    turn.abort();
    await expect(typing).rejects.toThrow();
  });

  it('waits for a line that is slow, and does not make up for it', async () => {
    let waiting = 100;
    const { done } = begin('x'.repeat(100), () => waiting);
    await vi.advanceTimersByTimeAsync(2000);
    expect(done()).toBe(0);
    waiting = 0;
    await vi.advanceTimersByTimeAsync(100);
    expect(done()).toBeLessThan(8);
  });

  it('leaves no key down when it is cancelled', async () => {
    const { sent, turn, typing } = begin('ABC'.repeat(10));
    const failed = expect(typing).rejects.toThrow();
    await vi.advanceTimersByTimeAsync(300);
    turn.abort(new Error('cancelled'));
    await failed;
    const down = new Set<number>();
    for (const { kind, scancode: code } of sent) kind === 'down' ? down.add(code) : down.delete(code);
    expect([sent.length > 10, down.size]).toEqual([true, 0]);
  });
});
