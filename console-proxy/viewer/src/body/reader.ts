/** Numbers of a body, as `FORMAT.md` describes them ("Numbers"). */

import { BodyError } from './error.ts';

const ENDED = 'the body ends in the middle';

/** What is left of some bytes. */
export class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw new BodyError('ended', ENDED);
    this.#at += 1;
    return byte;
  }

  /** The next bytes, which are not copied. */
  take(length: number): Uint8Array {
    if (length > this.#bytes.length - this.#at) throw new BodyError('ended', ENDED);
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  /** Two bytes, the higher one first. */
  short(): number {
    return this.byte() * 256 + this.byte();
  }

  /** Seven bits a byte, the lowest first. */
  number(): number {
    let number = 0;
    for (let place = 0; place < 5; place += 1) {
      const byte = this.byte();
      // Not shifted: bits past the 31st would be lost.
      number += (byte & 0x7f) * 2 ** (7 * place);
      if (byte < 0x80) {
        if (number > 0xffff_ffff) break;
        return number;
      }
    }
    throw new BodyError('number', 'a number is larger than 2^32 - 1');
  }

  /** 0, -1, 1, -2, ... */
  signed(): number {
    const number = this.number();
    return number % 2 === 0 ? number / 2 : -(number + 1) / 2;
  }

  /** A number of pixels. */
  side(): number {
    const number = this.number();
    if (number > 0xffff) throw new BodyError('number', 'a number is larger than 65535');
    return number;
  }

  /** How many there are of something that there are so many of at most; never none. */
  count(most: number): number {
    const count = this.number();
    if (count < 1 || count > most) throw new BodyError('number', `a count is not one of 1 to ${most}`);
    return count;
  }

  /** `0xRRGGBB`. */
  colour(): number {
    return this.byte() * 0x1_0000 + this.short();
  }

  /** Bytes that are counted. */
  blob(): Uint8Array {
    return this.take(this.number());
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  /** Fails if something is left. */
  end(): void {
    if (this.left > 0) throw new BodyError('too-long', `${this.left} bytes come after the end`);
  }
}
