/** Wheels: how far a page would scroll, as notches, which is all that a VM knows. Trackpads tell of many small ways. */

/** CSS pixels that are a notch. Browsers tell 100 to 120 for one of a wheel. */
const NOTCH = 100;

/** The most notches of one event. */
const MOST = 5;

/** CSS pixels of a line and of a page, as `WheelEvent.deltaMode` may count: three lines are a notch. */
const UNITS = [1, NOTCH / 3, NOTCH * 5];

/** Buttons as `PROTOCOL.md` has them. */
export const WHEEL = { up: 8, down: 16, left: 32, right: 64 } as const;

export class Wheel {
  #x = 0;
  #y = 0;

  /** The buttons to press one after the other for a way. */
  turn(right: number, down: number, mode = 0): number[] {
    const unit = UNITS[mode] ?? 1;
    // What is left of the opposite way is not made up for first.
    if (Math.sign(right) * Math.sign(this.#x) < 0) this.#x = 0;
    if (Math.sign(down) * Math.sign(this.#y) < 0) this.#y = 0;
    this.#x += right * unit;
    this.#y += down * unit;
    const vertical = notches(this.#y);
    const horizontal = notches(this.#x);
    this.#y -= vertical * NOTCH;
    this.#x -= horizontal * NOTCH;
    return [
      ...presses(vertical, vertical < 0 ? WHEEL.up : WHEEL.down),
      ...presses(horizontal, horizontal < 0 ? WHEEL.left : WHEEL.right),
    ];
  }
}

function notches(way: number): number {
  return Math.trunc(way / NOTCH);
}

function presses(notches: number, button: number): number[] {
  return Array.from({ length: Math.min(Math.abs(notches), MOST) }, () => button);
}
