/** Ten thousand events of all kinds, and how they are compared with what arrives. */

/** Acts on the page as a user does who is very fast, and rests for some milliseconds after each forty; tells what must arrive. */
export async function mixed({ count, rest }: { count: number; rest: number }): Promise<string[]> {
  const canvas = document.querySelector<HTMLCanvasElement>('#picture');
  if (!canvas) throw new Error('no picture');
  canvas.setPointerCapture = () => undefined;
  const expected: string[] = [];
  const box = canvas.getBoundingClientRect();
  let seed = 42;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  let [x, y, buttons] = [0, 0, 0];
  const pointer = (type: string): void => {
    const at = { clientX: box.left + ((x + 0.5) * box.width) / canvas.width, clientY: box.top + ((y + 0.5) * box.height) / canvas.height };
    canvas.dispatchEvent(new PointerEvent(type, { ...at, buttons, pointerType: 'mouse', bubbles: true, cancelable: true }));
    expected.push(`pointer ${buttons} ${x},${y}`);
  };
  canvas.focus();
  while (expected.length < count) {
    const kind = random(10);
    if (kind < 5) {
      const letter = random(26);
      const key = String.fromCharCode(97 + letter);
      const code = `Key${key.toUpperCase()}`;
      const scancode = [0x1e, 0x30, 0x2e, 0x20, 0x12, 0x21, 0x22, 0x23, 0x17, 0x24, 0x25, 0x26, 0x32, 0x31, 0x18, 0x19, 0x10, 0x13, 0x1f, 0x14, 0x16, 0x2f, 0x11, 0x2d, 0x15, 0x2c][letter] ?? 0;
      for (const type of ['keydown', 'keyup']) {
        canvas.dispatchEvent(new KeyboardEvent(type, { key, code, bubbles: true, cancelable: true }));
        expected.push(`${type.slice(3)} ${scancode.toString(16)} ${key.charCodeAt(0).toString(16)}`);
      }
    } else if (kind < 8) {
      x = (x + 1 + random(canvas.width - 1)) % canvas.width;
      y = (y + 1 + random(canvas.height - 1)) % canvas.height;
      pointer('pointermove');
    } else {
      buttons = 1;
      pointer('pointerdown');
      buttons = 0;
      pointer('pointerup');
    }
    // As fast as it goes would fill what the page keeps for a line that is away.
    if (expected.length % 40 < 2) await new Promise((resolve) => setTimeout(resolve, rest));
  }
  return expected;
}

/** All but moves, which are pointer events with the same buttons as the one before. */
export function withoutMoves(events: readonly string[]): string[] {
  let buttons = '0';
  return events.filter((event) => {
    if (!event.startsWith('pointer')) return true;
    const now = event.split(' ')[1] ?? '';
    const moves = now === buttons;
    buttons = now;
    return !moves;
  });
}

/** Whether all of some events are there in another list in the same order. */
export function isWithin(some: readonly string[], all: readonly string[]): boolean {
  let at = 0;
  for (const event of some) {
    while (at < all.length && all[at] !== event) at += 1;
    if (at === all.length) return false;
    at += 1;
  }
  return true;
}
