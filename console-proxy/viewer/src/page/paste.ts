/** Paste: a text is typed into the VM, or offered to its clipboard. */

import { LAYOUTS } from '../keyboard/layouts.ts';
import type { LayoutName } from '../keyboard/layouts.ts';
import { PACES, type, typed } from '../keyboard/typing.ts';
import type { Key, Pace } from '../keyboard/typing.ts';
import { by, button, say } from './dom.ts';
import { set, setting } from './settings.ts';

export interface PasteOptions {
  keys(): 'scancodes' | 'keysyms';
  /** Whether the VM's Caps Lock is on: letters would be the other ones. */
  caps(): boolean;
  send(key: Key): void;
  /** Presses Caps Lock. */
  pressCaps(): void;
  waiting(): number;
  clipboard(text: string): void;
  clipboardBytes(): number;
  done(): void;
}

const NAMES = Object.keys(LAYOUTS) as LayoutName[];
const PACE_NAMES = Object.keys(PACES) as Pace[];

/** The layout that a VM most likely has, by the browser's language. */
function likely(): LayoutName {
  const language = navigator.language.toLowerCase();
  if (language.startsWith('en')) return language.endsWith('gb') ? 'gb' : 'us';
  return NAMES.find((name) => language.startsWith(name)) ?? 'us';
}

/** The layout that was chosen for the VM. */
export function layout(): LayoutName {
  return setting('layout', NAMES, likely());
}

export class Paste {
  readonly #of: PasteOptions;
  readonly #dialog = by('paste-dialog', HTMLDialogElement);
  readonly #text = by('paste-text', HTMLTextAreaElement);
  readonly #layout = by('paste-layout', HTMLSelectElement);
  readonly #pace = by('paste-pace', HTMLSelectElement);
  readonly #missing = by('paste-missing', HTMLElement);
  #typing: AbortController | undefined;

  constructor(options: PasteOptions) {
    this.#of = options;
    for (const name of NAMES) this.#layout.add(new Option(LAYOUTS[name].name, name));
    this.#layout.value = layout();
    this.#pace.value = setting('pace', PACE_NAMES, 'medium');
    this.#layout.addEventListener('change', () => {
      set('layout', this.#layout.value);
      this.#look();
    });
    this.#pace.addEventListener('change', () => set('pace', this.#pace.value));
    this.#text.addEventListener('input', () => this.#look());
    this.#dialog.addEventListener('close', () => this.#closed());
    button('paste').addEventListener('click', () => void this.#open());
    button('paste-cancel').addEventListener('click', () => this.#dialog.close());
    button('paste-clipboard').addEventListener('click', () => this.#offer());
    by('paste-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#type();
    });
  }

  async #open(): Promise<void> {
    this.#show(false);
    this.#dialog.showModal();
    this.#text.focus();
    // A browser may ask the user, or have no clipboard for pages: then the text is pasted here.
    const text = await navigator.clipboard?.readText?.().catch(() => '');
    if (text && this.#text.value === '') this.#text.value = text;
    this.#text.select();
    this.#look();
  }

  /** Tells which characters the layout does not have. */
  #look(): ReturnType<typeof typed> {
    const found = typed(this.#text.value, layout(), this.#of.keys());
    const names = found.missing.slice(0, 20).map((one) => (/\p{C}|\s/u.test(one) ? `U+${one.codePointAt(0)?.toString(16)}` : one));
    this.#missing.hidden = names.length === 0;
    say(this.#missing, `Not on this keyboard, and left out: ${names.join(' ')}`);
    return found;
  }

  async #type(): Promise<void> {
    if (this.#typing) return;
    const text = this.#look();
    const turn = (this.#typing = new AbortController());
    const total = text.characters.length;
    const caps = this.#of.caps();
    this.#show(true);
    if (caps) this.#of.pressCaps();
    try {
      await type(text, {
        pace: PACE_NAMES.find((name) => name === this.#pace.value) ?? 'medium',
        signal: turn.signal,
        send: (key) => this.#of.send(key),
        waiting: () => this.#of.waiting(),
        progress: (done) => this.#progress(done, total),
      });
      this.#text.value = '';
    } catch {
      // It was cancelled; the text stays for another try.
    } finally {
      if (caps) this.#of.pressCaps();
      this.#typing = undefined;
      if (this.#dialog.open) this.#dialog.close();
    }
  }

  #offer(): void {
    const bytes = new TextEncoder().encode(this.#text.value).length;
    const most = this.#of.clipboardBytes();
    if (bytes > most) {
      this.#missing.hidden = false;
      say(this.#missing, `The machine's clipboard takes ${most} bytes; this is ${bytes}.`);
      return;
    }
    this.#of.clipboard(this.#text.value);
    this.#dialog.close();
  }

  #closed(): void {
    this.#typing?.abort(new Error('cancelled'));
    this.#of.done();
  }

  #show(typing: boolean): void {
    by('paste-progress', HTMLElement).hidden = !typing;
    button('paste-type').disabled = typing;
    button('paste-clipboard').disabled = typing;
    this.#text.disabled = typing;
    this.#progress(0, 1);
  }

  #progress(done: number, total: number): void {
    const bar = by('paste-bar', HTMLProgressElement);
    bar.max = Math.max(total, 1);
    bar.value = done;
    say(by('paste-count', HTMLElement), total > 1 ? `${done} of ${total}` : '');
  }
}
