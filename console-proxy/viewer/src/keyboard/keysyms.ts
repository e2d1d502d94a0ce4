/** What keys mean: `KeyboardEvent.key` to X11's symbols (`keysymdef.h`), for servers that do not take scancodes. */

/** Names of neighbours, from a symbol on; `-` is none. */
const ROWS: readonly (readonly [number, string])[] = [
  [0xff08, 'Backspace Tab - Clear - Enter'],
  [0xff13, 'Pause ScrollLock'],
  [0xff1b, 'Escape'],
  [0xff22, 'NonConvert Convert - KanaMode Hiragana Katakana HiraganaKatakana Zenkaku Hankaku ZenkakuHankaku'],
  [0xff31, 'HangulMode - - HanjaMode'],
  [0xff50, 'Home ArrowLeft ArrowUp ArrowRight ArrowDown PageUp PageDown End'],
  [0xff60, 'Select PrintScreen Execute Insert - Undo Redo ContextMenu Find Cancel Help'],
  [0xff7f, 'NumLock'],
  [0xffbe, 'F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 F11 F12 F13 F14 F15 F16 F17 F18 F19 F20 F21 F22 F23 F24'],
  [0xffe5, 'CapsLock'],
  [0xffff, 'Delete'],
];

/** Keys that are there twice, left and right. */
const SIDES: Readonly<Record<string, readonly [number, number]>> = {
  Shift: [0xffe1, 0xffe2],
  Control: [0xffe3, 0xffe4],
  Alt: [0xffe9, 0xffea],
  Meta: [0xffeb, 0xffec],
  AltGraph: [0xfe03, 0xfe03],
};

const NUMPAD: Readonly<Record<string, number>> = {
  Enter: 0xff8d,
  Home: 0xff95,
  ArrowLeft: 0xff96,
  ArrowUp: 0xff97,
  ArrowRight: 0xff98,
  ArrowDown: 0xff99,
  PageUp: 0xff9a,
  PageDown: 0xff9b,
  End: 0xff9c,
  Clear: 0xff9d,
  Insert: 0xff9e,
  Delete: 0xff9f,
  '*': 0xffaa,
  '+': 0xffab,
  ',': 0xffac,
  '-': 0xffad,
  '.': 0xffae,
  '/': 0xffaf,
  '=': 0xffbd,
};

const [RIGHT, PAD] = [2, 3];

const NAMED: ReadonlyMap<string, number> = table();

/** The symbol of a key; 0 if there is none. `location` is the event's. */
export function keysym(key: string, location = 0): number {
  if (location === PAD) {
    const symbol = /^[0-9]$/.test(key) ? 0xffb0 + Number(key) : NUMPAD[key];
    if (symbol !== undefined) return symbol;
  }
  const sides = SIDES[key];
  if (sides) return location === RIGHT ? sides[1] : sides[0];
  return NAMED.get(key) ?? character(key);
}

/** The symbol of a character; 0 if it is not just one. */
export function character(text: string): number {
  const [first, more] = text;
  if (first === undefined || more !== undefined) return 0;
  const point = first.codePointAt(0) ?? 0;
  if (first === '\n') return 0xff0d;
  if (first === '\t') return 0xff09;
  const latin = (point >= 0x20 && point <= 0x7e) || (point >= 0xa0 && point <= 0xff);
  if (latin) return point;
  return point < 0x20 ? 0 : 0x0100_0000 + point;
}

function table(): Map<string, number> {
  const symbols = new Map<string, number>();
  for (const [first, names] of ROWS) {
    names.split(' ').forEach((name, at) => {
      if (name !== '-') symbols.set(name, first + at);
    });
  }
  return symbols;
}
