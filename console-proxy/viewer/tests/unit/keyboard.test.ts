import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { Keyboard, machineOf } from '../../src/keyboard/keyboard.ts';
import type { KeyLike, Machine } from '../../src/keyboard/keyboard.ts';
import { character, keysym } from '../../src/keyboard/keysyms.ts';
import { codes, scancode } from '../../src/keyboard/scancodes.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Key events as text: `+Code key` goes down, `-Code key` up; `@12` is a time, and `!` waits for long. */
function told(machine: Machine, script: string, modifiers: readonly string[] = []): string {
  const acts: string[] = [];
  const keyboard = new Keyboard(machine, (action) => {
    acts.push(action.kind === 'release' ? 'release' : `${action.kind === 'down' ? '+' : '-'}${action.scancode.toString(16)}`);
  });
  let timeStamp = 0;
  for (const word of script.split(' ')) {
    if (word.startsWith('@')) timeStamp = Number(word.slice(1));
    else if (word === '!') vi.advanceTimersByTime(1000);
    else if (word === 'blur') keyboard.release();
    else {
      const [code = '', key = ''] = word.slice(1).split('=');
      const event: KeyLike = { code, key, location: 0, timeStamp, repeat: false, getModifierState: (name) => modifiers.includes(name) };
      if (word.startsWith('+')) keyboard.down(event);
      else keyboard.up(event);
    }
  }
  return acts.join(' ');
}

describe('scancodes', () => {
  it.each([
    ['Escape', 0x01], ['Digit0', 0x0b], ['KeyA', 0x1e], ['Backslash', 0x2b], ['IntlBackslash', 0x56], ['F10', 0x44], ['F12', 0x58],
    ['F24', 0x76], ['IntlYen', 0x7d], ['IntlRo', 0x73], ['KanaMode', 0x70], ['Lang1', 0x72], ['Lang2', 0x71], ['NonConvert', 0x7b],
    ['Convert', 0x79], ['NumpadComma', 0x7e], ['NumpadEnter', 0x9c], ['NumpadDivide', 0xb5], ['NumLock', 0x45], ['Pause', 0xc6],
    ['PrintScreen', 0xb7], ['ControlRight', 0x9d], ['AltRight', 0xb8], ['MetaLeft', 0xdb], ['ContextMenu', 0xdd], ['ArrowUp', 0xc8],
    ['Delete', 0xd3], ['MediaSelect', 0xed], ['Power', 0xde], ['AudioVolumeUp', 0xb0], ['OSLeft', 0xdb],
  ])('%s', (code, expected) => expect(scancode(code)).toBe(expected));

  it('no two keys have the same, apart from old names', () => {
    const all = codes().filter((code) => !/^OS|^Volume|^Hiragana/.test(code)).map(scancode);
    expect(new Set(all).size).toBe(all.length);
    expect(Math.max(...all)).toBeLessThan(0x100);
    expect(scancode('Fn')).toBe(0);
  });
});

it.each([
  ['a', 0, 0x61], ['ä', 0, 0xe4], ['€', 0, 0x0100_20ac], ['😀', 0, 0x0101_f600], ['Enter', 0, 0xff0d], ['Enter', 3, 0xff8d], ['7', 3, 0xffb7],
  ['Shift', 1, 0xffe1], ['Shift', 2, 0xffe2], ['AltGraph', 2, 0xfe03], ['F12', 0, 0xffc9], ['Dead', 0, 0], ['Unidentified', 0, 0],
  ['Home', 3, 0xff95], ['ContextMenu', 0, 0xff67],
])('what %s means at %d', (key, location, expected) => expect(keysym(key, location)).toBe(expected));

it('characters mean themselves, and lines Enter', () => {
  expect(['\n', '\t', 'ÿ', '\u0001', 'ab'].map(character)).toEqual([0xff0d, 0xff09, 0xff, 0, 0]);
});

describe('keyboards', () => {
  it.each<[string, Machine, string, string]>([
    ['keys go by their place', 'other', '+KeyZ=y -KeyZ=y', '+2c -2c'],
    ['repeats are told', 'other', '+KeyA=a +KeyA=a -KeyA=a', '+1e +1e -1e'],
    ['a key without a place is not taken', 'other', '+=a -=a +Unidentified=b', ''],
    ['a dead key goes by its place', 'other', '+BracketLeft=Dead -BracketLeft=Dead', '+1a -1a'],
    ['a key that was not down does not go up', 'other', '-KeyA=a', ''],
    ['all go up at once when the focus is lost', 'other', '+ControlLeft=Control +AltLeft=Alt blur -AltLeft=Alt', '+1d +38 release'],
    ['nothing goes up if nothing was down', 'other', 'blur', ''],
    ['AltGr on Windows is no Control', 'windows', '@5 +ControlLeft=Control @6 +AltRight=AltGraph +KeyQ=@ -KeyQ=@ -ControlLeft=Control -AltRight=AltGraph', '+b8 +10 -10 -b8'],
    ['a Control on Windows is one after a moment', 'windows', '+ControlLeft=Control ! +KeyC=c -KeyC=c -ControlLeft=Control', '+1d +2e -2e -1d'],
    ['a Control on Windows is one at the next key', 'windows', '+ControlLeft=Control +KeyC=c -KeyC=c -ControlLeft=Control', '+1d +2e -2e -1d'],
    ['a Control on Windows that goes up soon was pressed', 'windows', '+ControlLeft=Control -ControlLeft=Control', '+1d -1d'],
    ['Control and AltGr on Windows are both, if both are pressed', 'windows', '@1 +ControlLeft=Control @500 +AltRight=AltGraph', '+1d +b8'],
    ['AltGr elsewhere is AltGr', 'other', '+AltRight=AltGraph +KeyQ=@ -KeyQ=@ -AltRight=AltGraph', '+b8 +10 -10 -b8'],
    ['two shifts on Windows go up together', 'windows', '+ShiftLeft=Shift +ShiftRight=Shift -ShiftLeft=Shift', '+2a +36 -2a -36'],
    ['Print Screen that only comes up was pressed', 'windows', '-PrintScreen=PrintScreen', '+b7 -b7'],
    ['Caps Lock of a Mac is pressed at each change', 'mac', '+CapsLock=CapsLock -CapsLock=CapsLock', '+3a -3a +3a -3a'],
  ])('%s', (_, machine, script, expected) => expect(told(machine, script)).toBe(expected));

  it('keys of a Mac that are pressed with Meta go up at once, as nothing tells of it later', () => {
    expect(told('mac', '+MetaLeft=Meta +KeyC=c -MetaLeft=Meta', ['Meta'])).toBe('+db +2e -2e -db');
  });

  it('a key goes up with the meaning with which it went down', () => {
    const symbols: number[] = [];
    const keyboard = new Keyboard('other', (action) => symbols.push('keysym' in action ? action.keysym : -1));
    const key = { code: 'KeyA', location: 0, timeStamp: 0, repeat: false, getModifierState: () => false };
    keyboard.down({ ...key, key: 'A' });
    keyboard.up({ ...key, key: 'a' });
    expect(symbols).toEqual([0x41, 0x41]);
  });

  it.each<[string, Machine]>([['Win32', 'windows'], ['Windows', 'windows'], ['MacIntel', 'mac'], ['macOS', 'mac'], ['Linux x86_64', 'other']])(
    '%s', (platform, machine) => expect(machineOf(platform)).toBe(machine),
  );
});
