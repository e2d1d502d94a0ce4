import { describe, expect, it } from 'vitest';

import { BodyError } from '../../src/body/error.ts';
import type { Cursor } from '../../src/body/update.ts';
import { Picture } from '../../src/picture/picture.ts';
import { EXACT, KINDS, bodies, goldens, hash } from '../corpus.ts';
import { MemorySurface, type Pixels, png } from './memory.ts';

function view() {
  const surface = new MemorySurface();
  const seen = { cursor: null as Cursor | null, sizes: [] as string[] };
  const picture = new Picture(surface, {
    resized: ({ size }) => seen.sizes.push(`${size.width}x${size.height}`),
    cursor: (cursor) => (seen.cursor = cursor),
  });
  return { surface, picture, seen };
}

const apply = async (body: readonly number[], after: readonly (readonly number[])[] = []): Promise<string> => {
  const { picture } = view();
  for (const one of after) await picture.apply(Uint8Array.from(one));
  try {
    return await picture.apply(Uint8Array.from(body));
  } catch (error) {
    expect(error).toBeInstanceOf(BodyError);
    expect(picture.number).toBe(0);
    return (error as BodyError).fault;
  }
};

const fresh = [1, 3, 1, 32, 16];

describe('pictures are those of the Rust decoder', () => {
  it.each(EXACT)('%s', async (kind) => {
    const { surface, picture, seen } = view();
    const expected = goldens(kind);
    expect(expected.length).toBeGreaterThan(1);
    for (const [number, body] of bodies(kind).entries()) {
      expect(await picture.apply(body)).toBe('new');
      const { width, height } = surface;
      const cursor = seen.cursor ? hash(samples(png(seen.cursor.png).pixels)) : 'none';
      expect({ width, height, picture: hash(surface.bytes()), cursor }).toEqual(expected[number]);
    }
  });
});

function* samples(pixels: Uint32Array): Generator<number> {
  for (const pixel of pixels) yield* [pixel >>> 24, (pixel >> 16) & 0xff, (pixel >> 8) & 0xff, pixel & 0xff];
}

const LETTER = [1, 0x20, 2, 1, 1, 1, 1, 2, 1, 13, 2, 0, 0, 0, 0xaa, 0xaa, 0xaa, 0x10, 8, 0x18, 0, 0, 0];

describe('the example of FORMAT.md', () => {
  it('shows a letter twice', async () => {
    const { surface, picture } = view();
    for (const body of [fresh, LETTER, [1, 0x10, 3, 1, 1, 0, 0]]) await picture.apply(Uint8Array.from(body));
    const lit = [...surface.pixels.entries()].filter(([, pixel]) => pixel === 0xaaaaaa).map(([at]) => at);
    expect(lit.length).toBe(9 * 4);
    expect(lit.slice(0, 4)).toEqual([3, 4, 19, 20].map((column) => 3 * 32 + column));
    expect(picture.number).toBe(3);
  });

  it('is painted at once, as there is nothing to be decoded', () => {
    const { surface, picture } = view();
    void picture.apply(Uint8Array.from(fresh));
    expect(surface.width).toBe(32);
  });
});

describe('order', () => {
  it('ignores what it has', async () => {
    expect(await apply(fresh, [[1, 3, 2, 32, 16]])).toBe('old');
    expect(await apply([1, 8, 1, 1, 1, 9, 9, 9, 1, 0], [fresh])).toBe('old');
  });

  it('changes nothing when something is missing', async () => {
    expect(await apply([1, 8, 3, 1, 1, 9, 9, 9, 1, 0], [fresh])).toBe('out-of-order');
    expect(await apply([1, 8, 1, 1, 1, 9, 9, 9, 1, 0])).toBe('out-of-order');
  });

  it('takes what begins anew after an error, and nothing else', async () => {
    const { picture } = view();
    await picture.apply(Uint8Array.from(fresh));
    await expect(picture.apply(Uint8Array.from([1, 8, 2, 1]))).rejects.toThrow(BodyError);
    expect(await picture.apply(Uint8Array.from([1, 8, 2, 1, 1, 9, 9, 9, 1, 0]))).toBe('out-of-order');
    expect(await picture.apply(Uint8Array.from([1, 3, 1, 8, 8]))).toBe('new');
  });

  it('applies bodies in the order in which they are given', async () => {
    const { picture } = view();
    const all = [fresh, [1, 8, 2, 1, 1, 9, 9, 9, 1, 0], [1, 8, 3, 1, 1, 9, 9, 9, 1, 2]];
    expect(await Promise.all(all.map((body) => picture.apply(Uint8Array.from(body))))).toEqual(['new', 'new', 'new']);
  });
});

describe('another viewer', () => {
  class SlowSurface extends MemorySurface {
    override decode(...of: Parameters<MemorySurface['decode']>): Promise<Pixels> {
      return Promise.resolve(super.decode(...of));
    }
  }

  it('is not shown what was still being decoded for the one before, and counts anew', async () => {
    const surface = new SlowSurface();
    const picture = new Picture(surface, { resized: () => undefined, cursor: () => undefined });
    await picture.apply(Uint8Array.from(fresh));
    const underWay = picture.apply(Uint8Array.from(LETTER));
    const waiting = picture.apply(Uint8Array.from([1, 8, 3, 1, 1, 9, 9, 9, 1, 0]));
    picture.forget();
    expect(await Promise.all([underWay, waiting])).toEqual(['old', 'old']);
    expect(picture.number).toBe(0);
    expect(surface.pixels.some((pixel) => pixel !== 0)).toBe(false);
    expect(await picture.apply(Uint8Array.from(fresh))).toBe('new');
    expect(await picture.apply(Uint8Array.from(LETTER))).toBe('new');
    expect(surface.pixels.some((pixel) => pixel !== 0)).toBe(true);
  });
});

describe('broken bodies', () => {
  const after = (body: readonly number[]) => apply([1, body[0] ?? 0, 2, 1, ...body.slice(1)], [fresh]);

  it.each([
    ['another version', [2, 3, 1, 32, 16], 'version'],
    ['nothing', [], 'ended'],
    ['no desktop', [1, 1, 1], 'no-desktop'],
    ['after itself', [1, 8, 1, 0], 'base'],
    ['after what cannot be', [1, 8, 1, 2], 'base'],
    ['something after the end', [...fresh, 0], 'too-long'],
    ['a number that is too large', [1, 3, 0xff, 0xff, 0xff, 0xff, 0x1f, 1, 1], 'number'],
    ['a number without end', [1, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1], 'number'],
    ['a desktop that is too wide', [1, 3, 1, 0x80, 0x80, 4, 1], 'number'],
    ['a desktop that is too large', [1, 3, 1, 0xff, 0xff, 3, 0xff, 0xff, 3], 'too-large'],
    ['tiles on a desktop of nothing', [1, 11, 1, 0, 0, 1, 0, 0, 0, 1, 0], 'number'],
  ])('%s', async (_, body, fault) => expect(await apply(body)).toBe(fault));

  it.each([
    ['a copy that leaves the desktop', [4, 1, 1, 0, 32, 16, 0, 0], 'copy'],
    ['a copy from outside', [4, 1, 0, 0, 32, 16, 2, 0], 'copy'],
    ['no copies', [4, 0], 'number'],
    ['copies without end', [4, 65], 'number'],
    ['a tile outside', [8, 1, 1, 2, 3, 1, 4], 'tile'],
    ['a run that is too long', [8, 1, 1, 2, 3, 1, 1, 0xff, 0xff, 0xff, 0xff, 0xf], 'tile'],
    ['a tile twice', [8, 2, 1, 2, 3, 1, 0, 1, 2, 3, 1, 0], 'tile'],
    ['a slot that is empty', [16, 1, 0, 0], 'slot'],
    ['a slot below all', [16, 1, 0, 1], 'slot'],
    ['a repeat of nothing', [128, 1, 0, 0], 'slot'],
    ['an image that is not known', [32, 1, 4, 1, 0, 1, 0], 'kind'],
    ['more columns than tiles', [32, 1, 1, 1, 0, 2, 0], 'number'],
    ['bits of no colour', [32, 1, 1, 1, 0, 1, 1, 0], 'number'],
    ['bits of 17 colours', [32, 1, 1, 1, 0, 1, 1, 17], 'number'],
    ['bits that end', [32, 1, 1, 1, 0, 1, 6, 1, 1, 2, 3, 0x80, 0], 'ended'],
    ['bits that go on', [32, 1, 1, 1, 0, 1, 7, 1, 1, 2, 3, 0, 0, 0], 'too-long'],
    ['what is no PNG', [32, 1, 2, 1, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8], 'image'],
    ['what is no JPEG', [32, 1, 3, 1, 0, 1, 2, 1, 2], 'image'],
    ['a blob that ends', [32, 1, 2, 1, 0, 1, 100], 'ended'],
    ['a cursor that is no PNG', [64, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0], 'image'],
  ])('%s', async (_, body, fault) => expect(await after(body)).toBe(fault));

  it.each(KINDS)('damaged %s fail with nothing but a BodyError, and a fresh body is taken then', async (kind) => {
    let seed = 7;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const chain = bodies(kind).slice(0, 4);
    const outcomes = new Set<string>();
    for (let round = 0; round < (kind === 'full-cache' ? 40 : 200); round += 1) {
      const { picture } = view();
      const at = random(chain.length);
      for (const [number, good] of chain.entries()) {
        const body = good.slice();
        if (number === at) body[random(Math.min(body.length, random(2) ? 24 : body.length))] = random(256);
        try {
          outcomes.add(await picture.apply(body));
        } catch (error) {
          expect(error).toBeInstanceOf(BodyError);
          outcomes.add((error as BodyError).fault);
        }
      }
      picture.forget();
      expect(await picture.apply(Uint8Array.from(fresh))).toBe('new');
    }
    expect(outcomes.size).toBeGreaterThan(2);
  });
});
