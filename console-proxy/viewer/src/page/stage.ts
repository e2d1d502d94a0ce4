/** The picture in its frame: its size on the screen, and the VM's cursor over it. */

import type { Grid, Size } from '../body/grid.ts';
import type { Cursor } from '../body/update.ts';
import { isCrisp, shownSize } from '../pointer/place.ts';
import type { Scaling } from '../pointer/place.ts';
import { by } from './dom.ts';
import { set, setting } from './settings.ts';

/** The longest side of a cursor that browsers show as one; Chromium leaves larger ones out near the window's edge. */
const MAX_CURSOR = 32;

const SCALINGS = ['fit', 'pixels'] as const;

export class Stage {
  readonly canvas = by('picture', HTMLCanvasElement);
  readonly #frame = by('frame', HTMLElement);
  readonly #cursor = by('cursor', HTMLCanvasElement);
  #size: Size = { width: 1, height: 1 };
  #scaling: Scaling = setting('scaling', SCALINGS, 'fit');
  #address: string | undefined;
  #hotspot = { x: 0, y: 0 };
  /** Counts cursors: a shape that is decoded late is not shown over a newer one. */
  #turn = 0;

  constructor() {
    new ResizeObserver(() => this.#fit()).observe(this.#frame);
    this.#watchRatio();
    for (const choice of document.querySelectorAll<HTMLInputElement>('input[name="scaling"]')) {
      choice.checked = choice.value === this.#scaling;
      choice.addEventListener('change', () => this.#scale(choice.value === 'pixels' ? 'pixels' : 'fit'));
    }
    this.canvas.addEventListener('pointermove', (event) => this.#follow(event));
    this.canvas.addEventListener('pointerleave', () => (this.#cursor.hidden = true));
    this.cursor(null);
  }

  get size(): Size {
    return this.#size;
  }

  /** The desktop has another size. */
  resized({ size }: Grid): void {
    this.#size = { width: Math.max(size.width, 1), height: Math.max(size.height, 1) };
    this.#fit();
  }

  /** The VM's cursor has another shape, or none: then a dot shows where the pointer is. */
  cursor(cursor: Cursor | null): void {
    const turn = (this.#turn += 1);
    const before = this.#address;
    this.#address = cursor ? URL.createObjectURL(new Blob([cursor.png as Uint8Array<ArrayBuffer>], { type: 'image/png' })) : undefined;
    if (before) URL.revokeObjectURL(before);
    const large = cursor && Math.max(cursor.width, cursor.height) > MAX_CURSOR;
    this.canvas.classList.toggle('no-cursor', !cursor);
    this.canvas.classList.toggle('own-cursor', Boolean(large));
    this.#cursor.hidden = true;
    this.canvas.style.cursor = '';
    if (!cursor || !this.#address) return;
    this.#hotspot = cursor.hotspot;
    if (large) void this.#draw(cursor, turn);
    else this.canvas.style.cursor = `url(${this.#address}) ${cursor.hotspot.x} ${cursor.hotspot.y}, default`;
  }

  /** The picture as a file, pixel by pixel. */
  screenshot(name: string): void {
    this.canvas.toBlob((blob) => {
      if (!blob) return;
      const link = document.createElement('a');
      link.href = URL.createObjectURL(blob);
      link.download = `${name}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    }, 'image/png');
  }

  #scale(scaling: Scaling): void {
    this.#scaling = scaling;
    set('scaling', scaling);
    this.#fit();
  }

  #fit(): void {
    const frame = { width: this.#frame.clientWidth, height: this.#frame.clientHeight };
    if (frame.width === 0 || frame.height === 0) return;
    const shown = shownSize(this.#size, frame, this.#scaling, devicePixelRatio);
    this.canvas.style.width = `${shown.width}px`;
    this.canvas.style.height = `${shown.height}px`;
    this.canvas.classList.toggle('crisp', isCrisp(this.#size, shown, devicePixelRatio));
  }

  /** A window that goes to another screen may have other pixels there. */
  #watchRatio(): void {
    matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener(
      'change',
      () => {
        this.#fit();
        this.#watchRatio();
      },
      { once: true },
    );
  }

  async #draw(cursor: Cursor, turn: number): Promise<void> {
    const blob = new Blob([cursor.png as Uint8Array<ArrayBuffer>], { type: 'image/png' });
    const image = await createImageBitmap(blob).catch(() => undefined);
    if (!image || turn !== this.#turn) return;
    this.#cursor.width = image.width;
    this.#cursor.height = image.height;
    this.#cursor.getContext('2d')?.drawImage(image, 0, 0);
  }

  #follow({ clientX, clientY }: PointerEvent): void {
    if (!this.canvas.classList.contains('own-cursor')) return;
    this.#cursor.hidden = false;
    this.#cursor.style.transform = `translate(${clientX - this.#hotspot.x}px, ${clientY - this.#hotspot.y}px)`;
  }
}
