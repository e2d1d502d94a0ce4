/**
 * Which keys of the VM are down, from a browser's key events. It converges to what the user holds, whatever events a browser
 * leaves out or makes up:
 *
 * - **Keys go by their place** (`code`), so every layout, dead keys and AltGr work as the VM has them. What they mean (`key`) is
 *   told beside, for servers that take nothing else; a key goes up with the meaning with which it went down.
 * - **Windows makes up a left Control** before each AltGr. One that comes is held back for a moment; if AltGr follows, it was none.
 * - **macOS tells of no key that goes up while Meta is held**: such keys go up at once, and all do when Meta does. Its Caps Lock is
 *   told as held while it is on: each change is a press.
 * - **Nothing stays down** when the page loses the focus.
 *
 * Keys without a place, as on-screen keyboards have them, are not taken: they are typed (`typing.ts`).
 */

import { keysym } from './keysyms.ts';
import { scancode } from './scancodes.ts';

/** What is read of a `KeyboardEvent`. */
export interface KeyLike {
  readonly code: string;
  readonly key: string;
  readonly location: number;
  readonly timeStamp: number;
  readonly repeat: boolean;
  getModifierState(name: string): boolean;
}

export type KeyAction = { readonly kind: 'down' | 'up'; readonly scancode: number; readonly keysym: number } | { readonly kind: 'release' };

/** What computer the browser is on. */
export type Machine = 'windows' | 'mac' | 'other';

/** Milliseconds within which AltGr follows the Control that Windows makes up: it has the same time, or nearly. */
const MADE_UP = 30;

interface Held {
  readonly scancode: number;
  readonly keysym: number;
}

export class Keyboard {
  readonly #machine: Machine;
  readonly #act: (action: KeyAction) => void;
  readonly #held = new Map<string, Held>();
  #control: { readonly key: KeyLike; readonly timer: ReturnType<typeof setTimeout> } | undefined;

  constructor(machine: Machine, act: (action: KeyAction) => void) {
    this.#machine = machine;
    this.#act = act;
  }

  /** Whether any key is down. */
  get holds(): boolean {
    return this.#held.size > 0;
  }

  /** A key went down, or repeats. False if it has no place. */
  down(key: KeyLike): boolean {
    if (scancode(key.code) === 0) return false;
    if (this.#machine === 'windows') {
      const control = this.#control;
      if (control) {
        this.#noControl();
        const altGr = key.code === 'AltRight' && key.timeStamp - control.key.timeStamp <= MADE_UP;
        if (!altGr) this.#press(control.key);
      }
      if (key.code === 'ControlLeft' && !this.#held.has('ControlLeft')) {
        const timer = setTimeout(() => this.#settleControl(), MADE_UP);
        this.#control = { key, timer };
        return true;
      }
    }
    if (key.code === 'CapsLock' && this.#machine === 'mac') {
      this.tap('CapsLock');
      return true;
    }
    this.#press(key);
    if (this.#machine === 'mac' && key.getModifierState('Meta') && !isModifier(key.code)) this.#lift(key.code);
    return true;
  }

  /** A key went up. */
  up(key: KeyLike): void {
    if (key.code === 'ControlLeft' || this.#control) this.#settleControl(key.code === 'ControlLeft' ? undefined : key);
    if (this.#machine === 'mac' && key.code === 'CapsLock') {
      this.tap('CapsLock');
      return;
    }
    // Windows tells only one of two shifts that were held.
    if (key.key === 'Shift' && this.#machine === 'windows') {
      this.#lift('ShiftLeft');
      this.#lift('ShiftRight');
    }
    // Linux's and Windows' Print Screen comes up only.
    if (key.code === 'PrintScreen' && !this.#held.has('PrintScreen')) this.tap('PrintScreen');
    this.#lift(key.code);
    if (this.#machine === 'mac' && key.code.startsWith('Meta')) this.#liftOthers();
  }

  /** Presses keys, and lets them go in the opposite order. */
  tap(...codes: string[]): void {
    for (const code of codes) this.#hold(code, { scancode: scancode(code), keysym: keysym(nameOf(code), sideOf(code)) });
    for (const code of codes.reverse()) this.#lift(code);
  }

  /** Holds a key until it is let go, as a key of the page does. */
  hold(code: string): void {
    this.#hold(code, { scancode: scancode(code), keysym: keysym(nameOf(code), sideOf(code)) });
  }

  letGo(code: string): void {
    this.#lift(code);
  }

  /** All keys go up. */
  release(): void {
    this.#noControl();
    if (this.#held.size === 0) return;
    this.#held.clear();
    this.#act({ kind: 'release' });
  }

  /** All keys are up already: there is another viewer. */
  forget(): void {
    this.#noControl();
    this.#held.clear();
  }

  #press(key: KeyLike): void {
    this.#hold(key.code, { scancode: scancode(key.code), keysym: keysym(key.key, key.location) });
  }

  #hold(code: string, key: Held): void {
    this.#held.set(code, key);
    this.#act({ kind: 'down', ...key });
  }

  #lift(code: string): void {
    const held = this.#held.get(code);
    if (!held) return;
    this.#held.delete(code);
    this.#act({ kind: 'up', ...held });
  }

  #liftOthers(): void {
    for (const code of [...this.#held.keys()]) if (!isModifier(code)) this.#lift(code);
  }

  /** The Control that was held back is one, unless AltGr was its reason. */
  #settleControl(up?: KeyLike): void {
    const control = this.#control;
    if (!control || up?.code === 'AltRight') return;
    this.#noControl();
    this.#press(control.key);
  }

  #noControl(): void {
    clearTimeout(this.#control?.timer);
    this.#control = undefined;
  }
}

function isModifier(code: string): boolean {
  return /^(Shift|Control|Alt|Meta)(Left|Right)$|^CapsLock$/.test(code);
}

/** What a key means by its place, for keys whose place and meaning have the same name. */
function nameOf(code: string): string {
  if (/^Key[A-Z]$/.test(code)) return code.slice(3).toLowerCase();
  if (/^Digit[0-9]$/.test(code)) return code.slice(5);
  if (code === 'Space') return ' ';
  return code.replace(/(Left|Right)$/, (side) => (code.startsWith('Arrow') ? side : ''));
}

function sideOf(code: string): number {
  return code.endsWith('Right') && !code.startsWith('Arrow') ? 2 : 0;
}

/** The machine that a browser says it is on. */
export function machineOf(platform: string): Machine {
  if (/^win/i.test(platform)) return 'windows';
  return /^(mac|iphone|ipad)/i.test(platform) ? 'mac' : 'other';
}
