/**
 * Layouts that a VM may have: which keys type a character. They are for text that is typed by the page; what a user types goes by
 * the keys' places, whatever the layout.
 *
 * Each is four lines of characters for the same 48 keys, from the top left to the bottom right; a space is none. After a
 * `dead` character the next one gets its accent. Where Linux and Windows differ, these are Linux's (xkeyboard-config).
 */

import type { Stroke } from './typing.ts';

const KEYS = [
  'Backquote Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Minus Equal',
  'KeyQ KeyW KeyE KeyR KeyT KeyY KeyU KeyI KeyO KeyP BracketLeft BracketRight',
  'KeyA KeyS KeyD KeyF KeyG KeyH KeyJ KeyK KeyL Semicolon Quote Backslash',
  'IntlBackslash KeyZ KeyX KeyC KeyV KeyB KeyN KeyM Comma Period Slash',
]
  .join(' ')
  .split(' ');

interface Layout {
  readonly name: string;
  readonly plain: string;
  readonly shift: string;
  readonly altGr: string;
  /** Dead characters, each with its layer's letter before it: p, s, a. */
  readonly dead: string;
}

export const LAYOUTS = {
  us: {
    name: 'English (US)',
    plain: "`1234567890-=qwertyuiop[]asdfghjkl;'\\ zxcvbnm,./",
    shift: '~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:"| ZXCVBNM<>?',
    altGr: '',
    dead: '',
  },
  gb: {
    name: 'English (UK)',
    plain: "`1234567890-=qwertyuiop[]asdfghjkl;'#\\zxcvbnm,./",
    shift: '¬!"£$%^&*()_+QWERTYUIOP{}ASDFGHJKL:@~|ZXCVBNM<>?',
    altGr: '¦   €          é   úíó   á                      ',
    dead: '',
  },
  de: {
    name: 'Deutsch',
    plain: '^1234567890ß´qwertzuiopü+asdfghjklöä#<yxcvbnm,.-',
    shift: "°!\"§$%&/()=?`QWERTZUIOPÜ*ASDFGHJKLÖÄ'>YXCVBNM;:_",
    altGr: '  ²³   {[]}\\ @ €        ~            |      µ   ',
    dead: 'p^p´s`',
  },
  fr: {
    name: 'Français',
    plain: '²&é"\'(-è_çà)=azertyuiop^$qsdfghjklmù*<wxcvbn,;:!',
    shift: ' 1234567890°+AZERTYUIOP¨£QSDFGHJKLM%µ>WXCVBN?./§',
    altGr: '  ~#{[|`\\^@]}  €        ¤                       ',
    dead: 'p^s¨',
  },
  es: {
    name: 'Español',
    plain: "º1234567890'¡qwertyuiop`+asdfghjklñ´ç<zxcvbnm,.-",
    shift: 'ª!"·$%&/()=?¿QWERTYUIOP^*ASDFGHJKLÑ¨Ç>ZXCVBNM;:_',
    altGr: '\\|@#~ ¬        €       []          {}           ',
    dead: 'p`s^p´s¨',
  },
  it: {
    name: 'Italiano',
    plain: "\\1234567890'ìqwertyuiopè+asdfghjklòàù<zxcvbnm,.-",
    shift: '|!"£$%&/()=?^QWERTYUIOPé*ASDFGHJKLç°§>ZXCVBNM;:_',
    altGr: '       {[]}`~  €                  @#            ',
    dead: '',
  },
} satisfies Record<string, Layout>;

export type LayoutName = keyof typeof LAYOUTS;

/** Accents as Unicode combines them, and the characters of the keys. */
const ACCENTS: Readonly<Record<string, string>> = { '\u0300': '`', '\u0301': '´', '\u0302': '^', '\u0308': '¨', '\u0303': '~' };

/** The keys that type each character. */
export function strokesOf(name: LayoutName): Map<string, readonly Stroke[]> {
  const layout: Layout = LAYOUTS[name];
  const strokes = new Map<string, readonly Stroke[]>();
  const dead = new Map<string, Stroke>();
  const layers = [
    ['p', layout.plain, false, false],
    ['s', layout.shift, true, false],
    ['a', layout.altGr, false, true],
  ] as const;
  for (const [letter, characters, shift, altGr] of layers) {
    [...characters].forEach((character, at) => {
      const stroke = { code: KEYS[at] ?? '', shift, altGr };
      if (character === ' ') return;
      if (isDead(layout, letter + character)) dead.set(character, stroke);
      else if (!strokes.has(character)) strokes.set(character, [stroke]);
    });
  }
  const plain = (code: string): Stroke => ({ code, shift: false, altGr: false });
  strokes.set(' ', [plain('Space')]).set('\n', [plain('Enter')]).set('\t', [plain('Tab')]);
  for (const [character, stroke] of dead) {
    if (!strokes.has(character)) strokes.set(character, [stroke, plain('Space')]);
  }
  accented(strokes, dead);
  return strokes;
}

function isDead({ dead }: Layout, what: string): boolean {
  return dead.match(/../gu)?.includes(what) ?? false;
}

/** Adds letters that are typed with an accent before them. */
function accented(strokes: Map<string, readonly Stroke[]>, dead: ReadonlyMap<string, Stroke>): void {
  for (const [mark, key] of Object.entries(ACCENTS)) {
    const stroke = dead.get(key);
    if (!stroke) continue;
    for (const letter of 'aeiouyncAEIOUYNC') {
      const whole = (letter + mark).normalize('NFC');
      if ([...whole].length === 1 && !strokes.has(whole)) strokes.set(whole, [stroke, ...(strokes.get(letter) ?? [])]);
    }
  }
}
