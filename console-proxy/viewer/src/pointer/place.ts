/** Where a picture is in its frame, and which of its pixels a pointer is at. */

import type { Place, Size } from '../body/grid.ts';

/** How large a picture is shown: as the frame has room (`fit`), or a pixel of it as one of the screen (`pixels`). */
export type Scaling = 'fit' | 'pixels';

/** How much larger than its own a fitting size may be to be given up for that: pixels as they are look better. */
const NEARLY = 1.12;

/** The size of a picture in CSS pixels. `ratio` is how many pixels of the screen one of those has. */
export function shownSize(picture: Size, frame: Size, scaling: Scaling, ratio: number): Size {
  const own = 1 / ratio;
  const fit = Math.min(frame.width / picture.width, frame.height / picture.height);
  const whole = Math.floor(fit * ratio);
  // At least twice as large, whole numbers keep all pixels alike as long as not too much of the frame is lost.
  const even = whole >= 2 && (fit * ratio) / whole < NEARLY ? whole / ratio : fit;
  const scale = scaling === 'pixels' || (fit >= own && fit < own * NEARLY) ? own : even;
  return { width: picture.width * scale, height: picture.height * scale };
}

/** Whether pixels are so large that their edges should be seen. */
export function isCrisp(picture: Size, shown: Size, ratio: number): boolean {
  const scale = (shown.width * ratio) / picture.width;
  return scale > 0 && Math.abs(scale - Math.round(scale)) < 0.005;
}

/** The pixel of a picture at a point of the window; what is outside is moved to its edge. */
export function pixelAt(x: number, y: number, shown: Size & { left: number; top: number }, picture: Size): Place {
  const within = (at: number, length: number, pixels: number): number =>
    length > 0 ? Math.min(Math.max(Math.floor((at * pixels) / length), 0), Math.max(pixels - 1, 0)) : 0;
  return { x: within(x - shown.left, shown.width, picture.width), y: within(y - shown.top, shown.height, picture.height) };
}
