/**
 * Fingers as a mouse:
 *
 * ```text
 *   one finger: up soon .................... a click of the left button
 *               moves ...................... drags with the left button; with a relative pointer, it moves
 *               stays for HOLD ............. the right button, until it is up
 *   two fingers: move ...................... the wheel
 *                up soon ................... a click of the right button
 * ```
 *
 * A state machine without a clock or a browser: what `wait` asks for is told to `late`.
 */

import type { Place } from '../body/grid.ts';

/** What a finger did; places are in CSS pixels. */
export type Touch = { readonly kind: 'down' | 'move' | 'up' | 'cancel'; readonly id: number; readonly at: Place };

export type Gesture =
  | { readonly kind: 'press'; readonly button: number; readonly at: Place }
  | { readonly kind: 'drag'; readonly at: Place; readonly right: number; readonly down: number }
  | { readonly kind: 'let-go'; readonly at: Place }
  | { readonly kind: 'move'; readonly at: Place; readonly right: number; readonly down: number }
  | { readonly kind: 'scroll'; readonly right: number; readonly down: number };

/** Milliseconds that a finger stays for the right button. */
export const HOLD = 500;

/** CSS pixels that a finger may tremble. */
const TREMBLE = 8;

const LEFT = 1;
const RIGHT = 4;

type State =
  | { readonly is: 'none' }
  | { readonly is: 'one'; readonly start: Place }
  | { readonly is: 'moving'; readonly last: Place }
  | { readonly is: 'dragging'; readonly last: Place }
  | { readonly is: 'two'; readonly last: Place; readonly moved: boolean }
  | { readonly is: 'spent' };

export class Touches {
  readonly #fingers = new Map<number, Place>();
  readonly #relative: () => boolean;
  #state: State = { is: 'none' };

  /** `relative` tells whether the VM's pointer is told ways and not places. */
  constructor(relative: () => boolean) {
    this.#relative = relative;
  }

  /** Whether a finger may become the right button: then `late` is called after `HOLD`. */
  get wait(): boolean {
    return this.#state.is === 'one';
  }

  /** A finger did something. */
  touch({ kind, id, at }: Touch): Gesture[] {
    if (kind === 'down') this.#fingers.set(id, at);
    else if (!this.#fingers.has(id)) return [];
    else this.#fingers.set(id, at);
    const gestures = kind === 'down' ? this.#down(at) : kind === 'move' ? this.#move(id, at) : this.#up(kind === 'up', at);
    if (kind === 'up' || kind === 'cancel') this.#fingers.delete(id);
    if (this.#fingers.size === 0) this.#state = { is: 'none' };
    return gestures;
  }

  /** The finger has stayed. */
  late(): Gesture[] {
    if (this.#state.is !== 'one') return [];
    const { start } = this.#state;
    this.#state = { is: 'dragging', last: start };
    return [{ kind: 'press', button: RIGHT, at: start }];
  }

  #down(at: Place): Gesture[] {
    const state = this.#state;
    if (this.#fingers.size === 1) {
      this.#state = { is: 'one', start: at };
      return [];
    }
    if (this.#fingers.size === 2 && (state.is === 'one' || state.is === 'moving')) {
      this.#state = { is: 'two', last: this.#middle(), moved: false };
      return [];
    }
    this.#state = { is: 'spent' };
    return state.is === 'dragging' ? [{ kind: 'let-go', at: state.last }] : [];
  }

  #move(id: number, at: Place): Gesture[] {
    const state = this.#state;
    switch (state.is) {
      case 'one': {
        if (distance(state.start, at) < TREMBLE) return [];
        if (this.#relative()) {
          this.#state = { is: 'moving', last: at };
          return [{ kind: 'move', at, ...way(state.start, at) }];
        }
        this.#state = { is: 'dragging', last: at };
        return [
          { kind: 'press', button: LEFT, at: state.start },
          { kind: 'drag', at, ...way(state.start, at) },
        ];
      }
      case 'moving':
      case 'dragging':
        if (this.#fingers.keys().next().value !== id) return [];
        this.#state = { ...state, last: at };
        return [{ kind: state.is === 'moving' ? 'move' : 'drag', at, ...way(state.last, at) }];
      case 'two': {
        const middle = this.#middle();
        if (!state.moved && distance(state.last, middle) < TREMBLE) return [];
        this.#state = { is: 'two', last: middle, moved: true };
        const { right, down } = way(state.last, middle);
        // The page moves with the fingers, so the wheel turns against them.
        return [{ kind: 'scroll', right: -right, down: -down }];
      }
      default:
        return [];
    }
  }

  #up(whole: boolean, at: Place): Gesture[] {
    const state = this.#state;
    this.#state = { is: 'spent' };
    if (state.is === 'dragging') return [{ kind: 'let-go', at: state.last }];
    if (!whole) return [];
    if (state.is === 'one') return click(LEFT, state.start);
    if (state.is === 'two' && !state.moved) return click(RIGHT, at);
    return [];
  }

  #middle(): Place {
    const [one, two] = [...this.#fingers.values()];
    return { x: ((one?.x ?? 0) + (two?.x ?? 0)) / 2, y: ((one?.y ?? 0) + (two?.y ?? 0)) / 2 };
  }
}

function click(button: number, at: Place): Gesture[] {
  return [
    { kind: 'press', button, at },
    { kind: 'let-go', at },
  ];
}

function way(from: Place, to: Place): { right: number; down: number } {
  return { right: to.x - from.x, down: to.y - from.y };
}

function distance(one: Place, other: Place): number {
  return Math.hypot(other.x - one.x, other.y - one.y);
}
