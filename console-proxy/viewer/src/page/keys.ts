/** Keys of the browser and of the menu, while the picture has the focus. */

import { Keyboard, machineOf } from '../keyboard/keyboard.ts';
import type { KeyAction } from '../keyboard/keyboard.ts';
import type { Leds } from '../line/protocol.ts';
import { by, closeMenus, newButton } from './dom.ts';

export interface KeysOptions {
  readonly canvas: HTMLCanvasElement;
  /** Whether input is taken now. */
  active(): boolean;
  leds(): Leds | null;
  send(action: KeyAction): void;
  held(down: boolean): void;
}


export class Keys {
  readonly #of: KeysOptions;
  readonly #keyboard: Keyboard;
  /** The locks of the browser's keyboard are compared with the VM's when it comes back to the picture. */
  #compared = false;
  #leaving = false;

  constructor(options: KeysOptions) {
    this.#of = options;
    this.#keyboard = new Keyboard(machineOf(platform()), (action) => {
      options.send(action);
      options.held(this.#keyboard.holds);
    });
    const { canvas } = options;
    canvas.addEventListener('keydown', (event) => this.#down(event));
    canvas.addEventListener('keyup', (event) => this.#up(event));
    canvas.addEventListener('focus', () => (this.#compared = false));
    canvas.addEventListener('blur', () => this.release());
    addEventListener('blur', () => this.release());
    document.addEventListener('visibilitychange', () => this.release());
    this.#fillMenu(by('keys-menu', HTMLElement));
  }

  /** All keys go up. */
  release(): void {
    this.#keyboard.release();
    this.#of.held(false);
  }

  /** All are up already. */
  forget(): void {
    this.#keyboard.forget();
    this.#of.held(false);
  }

  /** Presses keys one after the other and lets them go. */
  tap(...codes: string[]): void {
    if (this.#of.active()) this.#keyboard.tap(...codes);
  }

  hold(code: string): void {
    if (this.#of.active()) this.#keyboard.hold(code);
  }

  letGo(code: string): void {
    this.#keyboard.letGo(code);
  }

  #down(event: KeyboardEvent): void {
    if (!this.#of.active()) return;
    this.#compare(event);
    this.#leaving = event.ctrlKey && event.altKey && event.shiftKey && /^(Control|Alt|Shift)/.test(event.code);
    if (this.#keyboard.down(event)) event.preventDefault();
  }

  #up(event: KeyboardEvent): void {
    if (!this.#of.active()) return;
    this.#keyboard.up(event);
    event.preventDefault();
    if (this.#leaving && !this.#keyboard.holds) {
      this.#leaving = false;
      by('keys', HTMLButtonElement).focus();
    }
  }

  /** Locks that differ are pressed first. Where the VM does not tell of its own, nothing can be done. */
  #compare(event: KeyboardEvent): void {
    const leds = this.#of.leds();
    if (this.#compared || !leds) return;
    this.#compared = true;
    const differs = (name: string, led: boolean): boolean => event.code !== name && event.getModifierState(name) !== led;
    if (differs('CapsLock', leds.caps)) this.#keyboard.tap('CapsLock');
    const pad = machineOf(platform()) !== 'mac';
    if (pad && differs('NumLock', leds.num) && event.code.startsWith('Numpad')) this.#keyboard.tap('NumLock');
  }

  #fillMenu(menu: HTMLElement): void {
    const add = (to: HTMLElement, text: string, codes: readonly string[], label = text): void => {
      to.append(
        newButton(
          text,
          () => {
            closeMenus();
            this.#of.canvas.focus({ preventScroll: true });
            this.tap(...codes);
          },
          label,
        ),
      );
    };
    add(menu, 'Ctrl-Alt-Del', ['ControlLeft', 'AltLeft', 'Delete']);
    add(menu, 'Ctrl-Alt-Backspace', ['ControlLeft', 'AltLeft', 'Backspace']);
    add(menu, 'Print Screen', ['PrintScreen']);
    add(menu, 'Alt-Tab', ['AltLeft', 'Tab']);
    add(menu, 'Windows key', ['MetaLeft']);
    menu.append(heading('Ctrl-Alt-'));
    const consoles = menu.appendChild(document.createElement('div'));
    consoles.className = 'grid';
    for (let number = 1; number <= 12; number += 1) {
      add(consoles, `F${number}`, ['ControlLeft', 'AltLeft', `F${number}`], `Ctrl-Alt-F${number}`);
    }
    menu.append(heading('Magic SysRq: Alt-SysRq-'));
    const magic = menu.appendChild(document.createElement('div'));
    magic.className = 'grid';
    for (const letter of 'BCEFHIKMORSTU') {
      add(magic, letter, ['AltLeft', 'PrintScreen', `Key${letter}`], `Alt-SysRq-${letter}`);
    }
  }
}

function heading(text: string): HTMLElement {
  const made = document.createElement('p');
  made.textContent = text;
  return made;
}

function platform(): string {
  const told = (navigator as { userAgentData?: { platform?: string } }).userAgentData?.platform;
  return told || navigator.platform;
}

