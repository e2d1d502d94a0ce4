/**
 * The mouse, wheels and fingers over the picture as the VM's pointer: at places of the desktop, or, if the VM knows only ways
 * (`relative`), by what the browser tells while it has the mouse locked.
 */

import type { Place, Size } from '../body/grid.ts';
import type { InputEvent } from '../input/event.ts';
import { pixelAt } from './place.ts';
import { HOLD, Touches } from './touch.ts';
import type { Gesture } from './touch.ts';
import { Wheel } from './wheel.ts';

export interface PointerOptions {
  readonly canvas: HTMLCanvasElement;
  /** Whether input is taken now. */
  active(): boolean;
  relative(): boolean;
  desktop(): Size;
  send(event: InputEvent): void;
  /** Buttons are down, or none is. */
  held(down: boolean): void;
  /** The user has touched the picture. */
  touched(): void;
}

/** `MouseEvent.buttons` has right before middle. */
const BUTTONS = [0, 1, 4, 5, 2, 3, 6, 7] as const;

export class Pointer {
  readonly #of: PointerOptions;
  readonly #wheel = new Wheel();
  readonly #touches: Touches;
  #buttons = 0;
  #at: Place = { x: 0, y: 0 };
  #hold: ReturnType<typeof setTimeout> | undefined;
  /** Parts of a pixel that are not told yet. */
  #rest = { right: 0, down: 0 };

  constructor(options: PointerOptions) {
    this.#of = options;
    this.#touches = new Touches(options.relative);
    const { canvas } = options;
    canvas.addEventListener('pointerdown', (event) => this.#pressed(event));
    canvas.addEventListener('pointermove', (event) => this.#moved(event));
    canvas.addEventListener('pointerup', (event) => this.#lifted(event));
    canvas.addEventListener('pointercancel', (event) => this.#lifted(event));
    canvas.addEventListener('wheel', (event) => this.#turned(event), { passive: false });
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    canvas.addEventListener('auxclick', (event) => event.preventDefault());
    canvas.addEventListener('dragstart', (event) => event.preventDefault());
  }

  /** All buttons are up already. */
  forget(): void {
    this.#set(0);
  }

  #pressed(event: PointerEvent): void {
    if (!this.#of.active()) return;
    if (event.pointerType === 'touch') {
      this.#of.touched();
      this.#finger('down', event);
      return;
    }
    event.preventDefault();
    this.#of.canvas.focus({ preventScroll: true });
    if (this.#of.relative() && !this.#locked) {
      // The click that locks the mouse is not the VM's.
      void Promise.resolve(this.#of.canvas.requestPointerLock()).catch(() => undefined);
      return;
    }
    this.#of.canvas.setPointerCapture(event.pointerId);
    this.#tell(event, buttonsOf(event));
  }

  #moved(event: PointerEvent): void {
    if (!this.#of.active()) return;
    if (event.pointerType === 'touch') this.#finger('move', event);
    else this.#tell(event, buttonsOf(event));
  }

  #lifted(event: PointerEvent): void {
    if (event.pointerType === 'touch') this.#finger(event.type === 'pointerup' ? 'up' : 'cancel', event);
    else if (this.#of.active()) this.#tell(event, buttonsOf(event));
  }

  #turned(event: WheelEvent): void {
    if (!this.#of.active() || event.ctrlKey) return;
    event.preventDefault();
    if (this.#of.relative() && !this.#locked) return;
    const [right, down] = event.shiftKey && event.deltaX === 0 ? [event.deltaY, 0] : [event.deltaX, event.deltaY];
    if (!this.#of.relative()) this.#at = this.#place({ x: event.clientX, y: event.clientY });
    this.#notches(this.#wheel.turn(right, down, event.deltaMode));
  }

  #notches(buttons: readonly number[]): void {
    for (const button of buttons) {
      this.#button(this.#buttons | button);
      this.#button(this.#buttons);
    }
  }

  get #locked(): boolean {
    return document.pointerLockElement === this.#of.canvas;
  }

  #tell(event: PointerEvent, buttons: number): void {
    if (this.#of.relative()) {
      if (!this.#locked) return;
      this.#way(event.movementX, event.movementY, buttons);
    } else {
      this.#to(this.#place({ x: event.clientX, y: event.clientY }), buttons);
    }
  }

  #finger(kind: 'down' | 'move' | 'up' | 'cancel', event: PointerEvent): void {
    event.preventDefault();
    clearTimeout(this.#hold);
    const gestures = this.#touches.touch({ kind, id: event.pointerId, at: { x: event.clientX, y: event.clientY } });
    gestures.forEach((gesture) => this.#gesture(gesture));
    if (this.#touches.wait) {
      this.#hold = setTimeout(() => this.#touches.late().forEach((gesture) => this.#gesture(gesture)), HOLD);
    }
  }

  #gesture(gesture: Gesture): void {
    const relative = this.#of.relative();
    switch (gesture.kind) {
      case 'scroll':
        this.#notches(this.#wheel.turn(gesture.right * 2, gesture.down * 2));
        return;
      case 'press':
        // The VM first sees the pointer where the button is pressed.
        if (!relative) this.#to(this.#place(gesture.at), this.#buttons);
        this.#button(this.#buttons | gesture.button);
        return;
      case 'let-go':
        this.#button(0);
        return;
      case 'move':
      case 'drag':
        if (relative) this.#way(gesture.right, gesture.down, this.#buttons);
        else this.#to(this.#place(gesture.at), this.#buttons);
    }
  }

  #place({ x, y }: Place): Place {
    return pixelAt(x, y, this.#of.canvas.getBoundingClientRect(), this.#of.desktop());
  }

  #to(at: Place, buttons: number): void {
    if (at.x === this.#at.x && at.y === this.#at.y && buttons === this.#buttons) return;
    this.#at = at;
    this.#set(buttons);
    this.#of.send({ kind: 'pointer', buttons, ...at });
  }

  #way(right: number, down: number, buttons: number): void {
    const whole = { right: Math.trunc(right + this.#rest.right), down: Math.trunc(down + this.#rest.down) };
    this.#rest = { right: right + this.#rest.right - whole.right, down: down + this.#rest.down - whole.down };
    if (whole.right === 0 && whole.down === 0 && buttons === this.#buttons) return;
    this.#set(buttons);
    this.#of.send({ kind: 'move', buttons, ...whole });
  }

  /** Tells of buttons where the pointer is. The wheel's are not held. */
  #button(buttons: number): void {
    if (buttons < 8) this.#set(buttons);
    if (this.#of.relative()) this.#of.send({ kind: 'move', buttons, right: 0, down: 0 });
    else this.#of.send({ kind: 'pointer', buttons, ...this.#at });
  }

  #set(buttons: number): void {
    this.#buttons = buttons;
    this.#of.held(buttons !== 0);
  }
}

function buttonsOf(event: PointerEvent): number {
  return BUTTONS[event.buttons & 7] ?? 0;
}
