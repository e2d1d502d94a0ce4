/**
 * Heads of PNG and JPEG images, looked at before the browser's decoders see them: an image has the size that its tiles have, so
 * a body's work stays bounded by the desktop, and nothing that would change its colours.
 */

import { BodyError } from './error.ts';
import type { Size } from './grid.ts';
import { Reader } from './reader.ts';

const SIGNATURE = '137,80,78,71,13,10,26,10';

/** What a PNG image's pixels are. */
export interface PngHead extends Size {
  /** Red, green, blue and alpha; else a palette, or red, green and blue. */
  readonly alpha: boolean;
}

/** Reads the chunks of a PNG image, of which it has no more than it needs. */
export function pngHead(bytes: Uint8Array): PngHead {
  const reader = new Reader(bytes);
  if (reader.take(8).join() !== SIGNATURE) throw broken('it does not begin as PNG');
  let head: PngHead | undefined;
  for (;;) {
    const length = reader.short() * 0x1_0000 + reader.short();
    const type = String.fromCharCode(...reader.take(4));
    const data = reader.take(length);
    reader.take(4);
    if (type === 'IHDR' && !head) head = imageHead(new Reader(data));
    else if (!head || !['PLTE', 'IDAT', 'IEND'].includes(type)) throw broken(`it has a chunk ${JSON.stringify(type)}`);
    if (type === 'IEND') break;
  }
  reader.end();
  return head;
}

function imageHead(reader: Reader): PngHead {
  const width = reader.short() * 0x1_0000 + reader.short();
  const height = reader.short() * 0x1_0000 + reader.short();
  const depth = reader.byte();
  const colours = reader.byte();
  const alpha = colours === 6 && depth === 8;
  const opaque = (colours === 2 && depth === 8) || (colours === 3 && [1, 2, 4, 8].includes(depth));
  // Compression, filter, and whether it is interlaced.
  if ((!alpha && !opaque) || reader.take(3).some((byte) => byte !== 0)) throw broken('its pixels are not those of tiles');
  return { width, height, alpha };
}

/** Reads the segments of a JPEG image up to its first scan. */
export function jpegHead(bytes: Uint8Array): Size {
  const reader = new Reader(bytes);
  if (reader.short() !== 0xffd8) throw broken('it does not begin as JPEG');
  let size: Size | undefined;
  for (;;) {
    const marker = reader.short();
    const length = reader.short();
    if (length < 2) throw broken('a segment is too short');
    const segment = new Reader(reader.take(length - 2));
    if (marker === 0xffc0 && !size) size = frame(segment);
    else if (marker === 0xffda && size) return size;
    else if (![0xffc4, 0xffdb, 0xffe0, 0xfffe].includes(marker)) throw broken('it has something that images of tiles do not have');
  }
}

/** A frame of three components of eight bits. */
function frame(reader: Reader): Size {
  const depth = reader.byte();
  const height = reader.short();
  const width = reader.short();
  if (depth !== 8 || reader.byte() !== 3) throw broken('its components are not those of tiles');
  return { width, height };
}

function broken(reason: string): BodyError {
  return new BodyError('image', `an image is broken: ${reason}`);
}
