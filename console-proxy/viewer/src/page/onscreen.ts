/**
 * On-screen keyboards: a field that they type into, whose text goes to the VM key by key, and a row of keys that they do not have.
 */

import { typed } from '../keyboard/typing.ts';
import type { Key } from '../keyboard/typing.ts';
import { by, button, newButton } from './dom.ts';
import type { Keys } from './keys.ts';
import { layout } from './paste.ts';

/** Keys of the row: what is written on them, the key, and what is said. */
const ROW: readonly (readonly [string, string, string])[] = [
  ['Esc', 'Escape', 'Escape'],
  ['Tab', 'Tab', 'Tab'],
  ['←', 'ArrowLeft', 'Left'],
  ['↓', 'ArrowDown', 'Down'],
  ['↑', 'ArrowUp', 'Up'],
  ['→', 'ArrowRight', 'Right'],
  ['Del', 'Delete', 'Delete'],
  ['Home', 'Home', 'Home'],
  ['End', 'End', 'End'],
  ['PgUp', 'PageUp', 'Page up'],
  ['PgDn', 'PageDown', 'Page down'],
  ...Array.from({ length: 12 }, (_, at) => [`F${at + 1}`, `F${at + 1}`, `F${at + 1}`] as const),
];

/** Keys that stay down for the next one. */
const MODIFIERS: readonly (readonly [string, string, string])[] = [
  ['Ctrl', 'ControlLeft', 'Control'],
  ['Alt', 'AltLeft', 'Alt'],
  ['Shift', 'ShiftLeft', 'Shift'],
  ['Win', 'MetaLeft', 'Windows'],
];

/** The field is never empty, so that there is something for a backspace to take away. */
const FILLED = '\u2060\u2060';

export interface OnScreenOptions {
  readonly keys: Keys;
  kind(): 'scancodes' | 'keysyms';
  send(key: Key): void;
}

export class OnScreen {
  readonly #of: OnScreenOptions;
  readonly #field = by('typed', HTMLTextAreaElement);
  readonly #bar = by('keyboard', HTMLElement);
  readonly #toggle = button('osk');
  readonly #held = new Map<string, HTMLButtonElement>();

  constructor(options: OnScreenOptions) {
    this.#of = options;
    const row = by('special', HTMLElement);
    for (const [text, code, label] of MODIFIERS) row.append(this.#modifier(text, code, label));
    for (const [text, code, label] of ROW) row.append(newButton(text, () => this.#key(code), label));
    // A button that takes the focus would close the keyboard.
    row.addEventListener('pointerdown', (event) => event.preventDefault());
    this.#toggle.addEventListener('click', () => this.#show(this.#bar.hasAttribute('hidden')));
    this.#field.addEventListener('input', () => this.#typed());
    this.#field.addEventListener('keydown', (event) => this.#down(event));
    this.#field.addEventListener('blur', () => this.#letGo());
    this.#clear();
  }

  #show(shown: boolean): void {
    this.#bar.hidden = !shown;
    this.#toggle.setAttribute('aria-pressed', String(shown));
    if (shown) this.#field.focus();
    else this.#letGo();
  }

  #modifier(text: string, code: string, label: string): HTMLButtonElement {
    const made = newButton(
      text,
      () => {
        if (this.#held.has(code)) {
          this.#letGoOf(code);
        } else {
          this.#of.keys.hold(code);
          this.#held.set(code, made);
          made.setAttribute('aria-pressed', 'true');
        }
        this.#field.focus();
      },
      label,
    );
    made.setAttribute('aria-pressed', 'false');
    return made;
  }

  /** Keys that such keyboards tell of, beside their text. */
  #down(event: KeyboardEvent): void {
    const taken = ['Enter', 'Tab', 'Escape', 'Backspace', 'Delete', 'ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown'];
    if (event.isComposing || !taken.includes(event.key)) return;
    event.preventDefault();
    this.#key(event.key);
  }

  #key(code: string): void {
    this.#of.keys.tap(code);
    this.#letGo();
  }

  /** Sends the difference to what was in the field, and fills it anew. */
  #typed(): void {
    const value = this.#field.value;
    const common = prefix(FILLED, value);
    for (let gone = FILLED.length - common; gone > 0; gone -= 1) this.#of.keys.tap('Backspace');
    for (const keys of typed(value.slice(common), layout(), this.#of.kind()).characters) keys.forEach((key) => this.#of.send(key));
    if (this.#held.size > 0) this.#letGo();
    this.#clear();
  }

  #clear(): void {
    this.#field.value = FILLED;
    this.#field.setSelectionRange(FILLED.length, FILLED.length);
  }

  #letGo(): void {
    for (const code of [...this.#held.keys()]) this.#letGoOf(code);
  }

  #letGoOf(code: string): void {
    this.#held.get(code)?.setAttribute('aria-pressed', 'false');
    this.#held.delete(code);
    this.#of.keys.letGo(code);
  }
}

/** How long two texts are alike. */
function prefix(one: string, other: string): number {
  let length = 0;
  while (length < one.length && one[length] === other[length]) length += 1;
  return length;
}
