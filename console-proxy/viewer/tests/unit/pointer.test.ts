import { describe, expect, it } from 'vitest';

import { isCrisp, pixelAt, shownSize } from '../../src/pointer/place.ts';
import { Touches } from '../../src/pointer/touch.ts';
import type { Touch } from '../../src/pointer/touch.ts';
import { Wheel } from '../../src/pointer/wheel.ts';
import { runs } from '../../src/picture/surface.ts';

describe('sizes', () => {
  const width = (picture: [number, number], frame: [number, number], ratio = 1, scaling: 'fit' | 'pixels' = 'fit') =>
    shownSize({ width: picture[0], height: picture[1] }, { width: frame[0], height: frame[1] }, scaling, ratio).width;

  it('a picture fits into its frame', () => {
    expect(width([1024, 768], [500, 1000])).toBe(500);
    expect(width([1024, 768], [5000, 384])).toBe(512);
  });

  it('what nearly has its own size has it', () => {
    expect(width([1024, 768], [1100, 800])).toBe(1024);
    expect(width([1024, 768], [550, 400], 2)).toBe(512);
  });

  it('what is much larger has whole pixels', () => {
    expect(width([320, 200], [700, 700])).toBe(640);
    expect(width([320, 200], [930, 700])).toBe(930);
  });

  it('pixel by pixel is of the screen, not of CSS', () => {
    expect(width([1024, 768], [300, 300], 2, 'pixels')).toBe(512);
  });

  it('edges are seen where pixels are whole', () => {
    const picture = { width: 320, height: 200 };
    expect([isCrisp(picture, { width: 640, height: 400 }, 1), isCrisp(picture, { width: 500, height: 312 }, 1)]).toEqual([true, false]);
    expect(isCrisp(picture, { width: 160, height: 100 }, 2)).toBe(true);
  });
});

it('each pixel is found, and what is outside is at the edge', () => {
  const shown = { left: 10, top: 20, width: 320, height: 200 };
  const picture = { width: 640, height: 400 };
  expect(pixelAt(10, 20, shown, picture)).toEqual({ x: 0, y: 0 });
  expect(pixelAt(329.9, 219.9, shown, picture)).toEqual({ x: 639, y: 399 });
  expect(pixelAt(-500, 5000, shown, picture)).toEqual({ x: 0, y: 399 });
  expect(pixelAt(5, 5, { ...shown, width: 0 }, picture).x).toBe(0);
});

describe('wheels', () => {
  it('small ways add up to notches', () => {
    const wheel = new Wheel();
    expect([40, 40, 40].map((way) => wheel.turn(0, way).length)).toEqual([0, 0, 1]);
    expect(wheel.turn(0, 80)).toEqual([16]);
  });

  it('a way back begins anew', () => {
    const wheel = new Wheel();
    wheel.turn(0, 90);
    expect(wheel.turn(0, -100)).toEqual([8]);
  });

  it('lines and pages count, and both directions', () => {
    const wheel = new Wheel();
    expect(wheel.turn(0, 3, 1)).toEqual([16]);
    expect(wheel.turn(-1, 0, 2)).toEqual([32, 32, 32, 32, 32]);
    expect(wheel.turn(0, 100_000).length).toBe(5);
    expect(wheel.turn(150, 0)).toEqual([64]);
  });
});

describe('fingers', () => {
  /** `d1:5,6` is finger 1 down at 5, 6; `m` moves, `u` is up, `c` is cancelled, `wait` for long. */
  const gestures = (script: string, relative = false): string => {
    const touches = new Touches(() => relative);
    const kinds = { d: 'down', m: 'move', u: 'up', c: 'cancel' } as const;
    const found = script.split(' ').flatMap((word) => {
      if (word === 'wait') return touches.wait ? touches.late() : [];
      const [, kind = 'd', id, x, y] = /^(.)(\d):(\d+),(\d+)$/.exec(word) ?? [];
      const touch: Touch = { kind: kinds[kind as keyof typeof kinds], id: Number(id), at: { x: Number(x), y: Number(y) } };
      return touches.touch(touch);
    });
    return found.map((one) => `${one.kind}${'button' in one ? one.button : 'right' in one ? `:${one.right},${one.down}` : ''}`).join(' ');
  };

  it.each([
    ['a tap clicks', 'd1:50,50 u1:51,50', 'press1 let-go'],
    ['one that stays presses the right button', 'd1:50,50 wait u1:50,50', 'press4 let-go'],
    ['one that trembles stays', 'd1:50,50 m1:52,51 wait m1:60,60 u1:60,60', 'press4 drag:10,10 let-go'],
    ['one that moves drags', 'd1:50,50 m1:70,50 m1:80,50 u1:80,50', 'press1 drag:20,0 drag:10,0 let-go'],
    ['two scroll', 'd1:50,50 d2:90,50 m1:50,70 m2:90,70 m1:50,80 u1:50,80 u2:90,70', 'scroll:0,-10 scroll:0,-10 scroll:0,-5'],
    ['two that tap press the right button', 'd1:50,50 d2:90,50 u1:50,50 u2:90,50', 'press4 let-go'],
    ['what is cancelled does not click', 'd1:50,50 c1:50,50', ''],
    ['a drag that is cancelled ends', 'd1:50,50 m1:70,50 c1:70,50', 'press1 drag:20,0 let-go'],
    ['a second finger ends a drag', 'd1:50,50 m1:70,50 d2:9,9 m1:90,50 u2:9,9 u1:90,50', 'press1 drag:20,0 let-go'],
    ['a third one is too many', 'd1:50,50 d2:60,50 d3:70,50 u1:50,50 u2:60,50 u3:70,50', ''],
  ])('%s', (_, script, expected) => expect(gestures(script)).toBe(expected));

  it('move a relative pointer, and click where it is', () => {
    expect(gestures('d1:50,50 m1:70,50 m1:75,52 u1:75,52', true)).toBe('move:20,0 move:5,2');
    expect(gestures('d1:50,50 u1:50,50', true)).toBe('press1 let-go');
  });
});

it('tiles of one colour are filled by runs within their rows', () => {
  expect([...runs([0, 1, 2, 3, 4, 8, 9, 13], 4)]).toEqual([[0, 4], [4, 1], [8, 2], [13, 1]]);
  expect([...runs([], 4)]).toEqual([]);
});
