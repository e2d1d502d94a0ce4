/** What a user does on the page, and what the VM gets. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Page } from 'playwright-core';
import { describe, expect, it } from 'vitest';

import { scancode } from '../../src/keyboard/scancodes.ts';
import { VIEWER } from '../corpus.ts';
import { png } from '../unit/memory.ts';
import { ready, world } from './world.ts';

const here = world();

const hex = (number: number): string => number.toString(16);
const presses = (...keys: [string, string][]): string[] => {
  const told = keys.map(([code, symbol]) => `${hex(scancode(code))} ${symbol}`);
  return [...told.map((key) => `down ${key}`), ...told.reverse().map((key) => `up ${key}`)];
};

async function shown(search = '', state: Record<string, unknown> = {}, options = {}) {
  const stand = await here.stand();
  stand.set(state);
  const page = await here.page(stand.link(search), options);
  await ready(page);
  return { stand, page, events: () => stand.events };
}

/** A place of the desktop on the page. */
async function at(page: Page, x: number, y: number): Promise<[number, number]> {
  const box = await page.locator('#picture').boundingBox();
  const width = await page.evaluate(() => document.querySelector<HTMLCanvasElement>('#picture')?.width ?? 1);
  const scale = (box?.width ?? 1) / width;
  return [(box?.x ?? 0) + (x + 0.5) * scale, (box?.y ?? 0) + (y + 0.5) * scale];
}

describe('keys', () => {
  it('go by their place, with what they mean beside', async () => {
    const { page, events } = await shown();
    await page.keyboard.press('Shift+KeyA');
    await page.keyboard.press('ArrowUp');
    await expect.poll(events).toEqual([
      'down 2a ffe1', 'down 1e 41', 'up 1e 41', 'up 2a ffe1', ...presses(['ArrowUp', 'ff52']),
    ]);
  });

  it('Tab, F5 and Control-T stay with the VM', async () => {
    const { page, events } = await shown();
    for (const key of ['Tab', 'F5', 'Control+KeyT', 'Escape']) await page.keyboard.press(key);
    await expect.poll(() => events().length).toBe(10);
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('picture');
  });

  it('all go up when the page loses the focus', async () => {
    const { page, events } = await shown();
    await page.keyboard.down('ControlLeft');
    await page.evaluate(() => dispatchEvent(new Event('blur')));
    await expect.poll(events).toEqual(['down 1d ffe3', 'release']);
  });

  it('Control, Alt and Shift together leave the picture', async () => {
    const { page } = await shown();
    for (const key of ['ControlLeft', 'AltLeft', 'ShiftLeft']) await page.keyboard.down(key);
    for (const key of ['ControlLeft', 'AltLeft', 'ShiftLeft']) await page.keyboard.up(key);
    await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe('keys');
  });

  it('the menu presses what browsers keep for themselves', async () => {
    const { stand, page } = await shown();
    type Key = [string, string];
    const [control, alt]: [Key, Key] = [['ControlLeft', 'ffe3'], ['AltLeft', 'ffe9']];
    const consoles = Array.from({ length: 12 }, (_, number): [string, Key[]] => {
      const name = `F${number + 1}`;
      return [`Ctrl-Alt-${name}`, [control, alt, [name, hex(0xffbe + number)]]];
    });
    const magic = [...'BCEFHIKMORSTU'].map((letter): [string, Key[]] => {
      return [`Alt-SysRq-${letter}`, [alt, ['PrintScreen', 'ff61'], [`Key${letter}`, hex(letter.toLowerCase().charCodeAt(0))]]];
    });
    const menu: [string, Key[]][] = [
      ['Ctrl-Alt-Del', [control, alt, ['Delete', 'ffff']]],
      ['Ctrl-Alt-Backspace', [control, alt, ['Backspace', 'ff08']]],
      ['Print Screen', [['PrintScreen', 'ff61']]],
      ['Alt-Tab', [alt, ['Tab', 'ff09']]],
      ['Windows key', [['MetaLeft', 'ffeb']]],
      ...consoles,
      ...magic,
    ];
    const labels = page.locator('#keys-menu button').evaluateAll((all) => all.map((one) => one.ariaLabel || one.textContent));
    expect(await labels).toEqual(menu.map(([label]) => label));
    for (const [label, keys] of menu) {
      const before = stand.events.length;
      await page.click('#keys');
      await page.locator('#keys-menu').getByRole('button', { name: label, exact: true }).click();
      await expect.poll(() => stand.events.slice(before), { message: label }).toEqual(presses(...keys));
    }
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('picture');
  });

  it('a held key is told again and again, so that it is not taken for lost', async () => {
    const { stand, page } = await shown();
    await page.keyboard.down('KeyA');
    const batches = () => [...stand.viewers.values()][0]?.batches ?? 0;
    const before = batches();
    await expect.poll(batches).toBeGreaterThan(before + 2);
    await page.keyboard.up('KeyA');
  });

  it('Caps Lock of the machine becomes that of the browser', async () => {
    const { page, events } = await shown('', { leds: { caps: true, num: true, scroll: false } });
    await page.keyboard.press('KeyA');
    await expect.poll(events).toEqual([...presses(['CapsLock', 'ffe5']), ...presses(['KeyA', '61'])]);
  });
});

describe('paste', () => {
  it('types what is pasted, on the machine\'s layout', async () => {
    const { page, events } = await shown();
    await page.click('#paste');
    await page.selectOption('#paste-layout', 'de');
    await page.fill('#paste-text', 'z@é\n');
    await page.click('#paste-type');
    await expect.poll(() => page.isVisible('#paste-dialog')).toBe(false);
    await expect.poll(events).toEqual([
      ...presses(['KeyY', '7a']), ...presses(['AltRight', 'fe03'], ['KeyQ', '40']),
      ...presses(['Equal', 'e9']), ...presses(['KeyE', 'e9']), ...presses(['Enter', 'ff0d']),
    ]);
    await page.reload();
    await ready(page);
    await page.click('#paste');
    expect(await page.inputValue('#paste-layout')).toBe('de');
  });

  it('tells what the layout does not have, shows how far it is, and stops when it is cancelled', async () => {
    const { page, events } = await shown();
    await page.click('#paste');
    await page.selectOption('#paste-layout', 'us');
    await page.selectOption('#paste-pace', 'slow');
    await page.fill('#paste-text', 'ß'.padEnd(2000, 'x'));
    expect(await page.textContent('#paste-missing')).toBe('Not on this keyboard, and left out: ß');
    await page.click('#paste-type');
    await expect.poll(() => page.textContent('#paste-count')).toMatch(/^([3-9]|\d{2,3}) of 1999$/);
    await page.click('#paste-cancel');
    let typed = 0;
    await expect
      .poll(() => {
        const before = typed;
        typed = events().length;
        return typed === before;
      }, { interval: 1000 })
      .toBe(true);
    expect(typed).toBeLessThan(3998);
    expect(events().at(-1)).toBe('up 2d 78');
  });

  it('is offered to the clipboard', async () => {
    const { page, events } = await shown();
    await page.click('#paste');
    await page.fill('#paste-text', 'grüße');
    await page.click('#paste-clipboard');
    await expect.poll(events).toEqual(['clipboard grüße']);
  });
});

it('the clipboard of the machine is copied', async () => {
  const { page } = await shown('', { clipboard: { number: 1, bytes: 18 } }, { permissions: ['clipboard-read', 'clipboard-write'] });
  await page.click('#more');
  await page.click('#copy');
  await expect.poll(() => page.evaluate(() => navigator.clipboard.readText())).toBe('what the VM copied');
  await page.keyboard.press('Escape');
  await page.click('#paste');
  await expect.poll(() => page.inputValue('#paste-text')).toBe('what the VM copied');
});

describe('the pointer', () => {
  it('is where it is on the desktop, whatever size that is shown at', async () => {
    const { page, events } = await shown('', {}, { deviceScaleFactor: 2, viewport: { width: 900, height: 700 } });
    for (const [x, y] of [[0, 0], [639, 399], [123, 45]] as const) await page.mouse.move(...(await at(page, x, y)));
    await page.mouse.click(...(await at(page, 10, 20)), { button: 'right' });
    await expect.poll(events).toEqual(['pointer 0 639,399', 'pointer 0 123,45', 'pointer 0 10,20', 'pointer 4 10,20', 'pointer 0 10,20'].slice(-5));
  });

  it('turns the wheel by notches', async () => {
    const { page, events } = await shown();
    await page.mouse.move(...(await at(page, 5, 5)));
    for (const way of [60, 60, -100]) await page.mouse.wheel(0, way);
    await expect.poll(events).toEqual(['pointer 0 5,5', 'pointer 16 5,5', 'pointer 0 5,5', 'pointer 8 5,5', 'pointer 0 5,5']);
  });

  it('fingers click, press the right button, drag and scroll', async () => {
    const { page, events } = await shown('', {}, { hasTouch: true });
    const [x, y] = await at(page, 50, 60);
    await page.touchscreen.tap(x, y);
    await expect.poll(events).toEqual(['pointer 0 50,60', 'pointer 1 50,60', 'pointer 0 50,60']);
    const session = await page.context().newCDPSession(page);
    const touch = (type: 'touchStart' | 'touchEnd' | 'touchMove', ...points: { x: number; y: number }[]) =>
      session.send('Input.dispatchTouchEvent', { type, touchPoints: points.map((point, id) => ({ ...point, id })) });
    await touch('touchStart', { x, y });
    await expect.poll(() => events().slice(3)).toContain('pointer 4 50,60');
    await touch('touchEnd');
    await expect.poll(() => events().slice(3)).toEqual(['pointer 4 50,60', 'pointer 0 50,60']);
    await touch('touchStart', { x, y }, { x: x + 80, y });
    for (const way of [30, 60, 90]) await touch('touchMove', { x, y: y + way }, { x: x + 80, y: y + way });
    await touch('touchEnd');
    await expect.poll(() => events().slice(5)).toContain('pointer 8 50,60');
  });

  it('tells ways while the browser has locked the mouse', async () => {
    const { page, events } = await shown('', { pointer: 'relative' });
    const [x, y] = await at(page, 100, 100);
    await page.mouse.click(x, y);
    await expect.poll(() => page.evaluate(() => document.pointerLockElement?.id)).toBe('picture');
    await page.evaluate(() => {
      const canvas = document.querySelector('#picture');
      const move = (buttons: number, movementX: number, movementY: number) =>
        canvas?.dispatchEvent(new PointerEvent('pointermove', { pointerType: 'mouse', buttons, movementX, movementY }));
      move(0, 5, -3);
      move(1, 2, 1);
    });
    await expect.poll(() => events().slice(-2)).toEqual(['move 0 5,-3', 'move 1 2,1']);
  });
});

describe('looking only', () => {
  it('a viewer without the right to control tells nothing', async () => {
    const { page, events } = await shown('', { rights: 'view' });
    await page.focus('#picture');
    await page.keyboard.press('KeyA');
    await page.mouse.click(...(await at(page, 5, 5)));
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(events()).toEqual([]);
    expect(await page.isVisible('#paste')).toBe(false);
  });

  it('small devices begin so, and change it with a touch', async () => {
    const phone = { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true };
    const { page, events } = await shown('', {}, phone);
    await page.touchscreen.tap(...(await at(page, 50, 50)));
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(events()).toEqual([]);
    await page.click('#look');
    await page.touchscreen.tap(...(await at(page, 50, 50)));
    await expect.poll(() => events().length).toBe(3);
  });

  it('a page of 360 pixels has no room that is lost', async () => {
    const { page } = await shown('', {}, { viewport: { width: 360, height: 640 } });
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
    expect((await page.locator('#picture').boundingBox())?.width).toBeGreaterThan(340);
  });
});

it('on-screen keyboards type, with keys that they do not have', async () => {
  const { page, events } = await shown('', {}, { hasTouch: true });
  await page.click('#osk');
  await page.keyboard.insertText('aB');
  await expect.poll(events).toEqual([...presses(['KeyA', '61']), ...presses(['ShiftLeft', 'ffe1'], ['KeyB', '42'])]);
  await page.evaluate(() => {
    const field = document.querySelector<HTMLTextAreaElement>('#typed');
    if (!field) return;
    field.value = field.value.slice(0, -1);
    field.dispatchEvent(new Event('input'));
  });
  await expect.poll(() => events().slice(6)).toEqual(presses(['Backspace', 'ff08']));
  await page.click('#special >> text="Ctrl"');
  await page.click('#special >> text="F2"');
  await expect.poll(() => events().slice(8)).toEqual(['down 1d ffe3', 'down 3c ffbf', 'up 3c ffbf', 'up 1d ffe3']);
});

it('full screen takes the whole window, and the keys that browsers keep', async () => {
  const { page } = await shown();
  await page.evaluate(() => {
    const { keyboard } = navigator as unknown as { keyboard: { lock(): Promise<void> } };
    const lock = keyboard.lock.bind(keyboard);
    keyboard.lock = () => {
      document.body.dataset['locked'] = 'yes';
      return lock();
    };
  });
  await page.click('#full');
  await expect.poll(() => page.evaluate(() => document.fullscreenElement?.tagName)).toBe('HTML');
  await expect.poll(() => page.getAttribute('body', 'data-locked')).toBe('yes');
  expect(await page.evaluate(() => document.activeElement?.id)).toBe('picture');
  // The bar is there for who comes to it by keys.
  await page.focus('#full');
  await expect.poll(async () => (await page.locator('#full').boundingBox())?.y).toBeGreaterThanOrEqual(0);
  await page.keyboard.press('Enter');
  await expect.poll(() => page.evaluate(() => document.fullscreenElement)).toBe(null);
});

it.each(['light', 'dark'] as const)('nothing is wrong for those who see or move less, in %s', async (colorScheme) => {
  const { page } = await shown('', {}, { colorScheme });
  const source = readFileSync(join(VIEWER, 'node_modules/axe-core/axe.min.js'), 'utf8');
  const wrong = async (): Promise<string[]> => {
    await page.evaluate(source);
    return page.evaluate(async () => {
      const { axe } = globalThis as unknown as { axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> } };
      return (await axe.run()).violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
    });
  };
  expect(await wrong()).toEqual([]);
  await page.click('#more');
  expect(await wrong()).toEqual([]);
  await page.keyboard.press('Escape');
  await page.click('#status');
  expect(await wrong()).toEqual([]);
  await page.keyboard.press('Escape');
  await page.click('#paste');
  expect(await wrong()).toEqual([]);
});

it('a screenshot has the desktop\'s own size and pixels, at whatever size that is shown', async () => {
  const { page } = await shown();
  await page.setViewportSize({ width: 500, height: 400 });
  const [download] = await Promise.all([page.waitForEvent('download'), page.click('#screenshot')]);
  expect(download.suggestedFilename()).toMatch(/^web-1-.*\.png$/);
  const file = readFileSync(await download.path());
  const picture = png(file);
  expect([picture.width, picture.pixels.length / picture.width]).toEqual([640, 400]);
  const seen = await page.evaluate(() => {
    const { data } = document.querySelector<HTMLCanvasElement>('#picture')?.getContext('2d')?.getImageData(0, 0, 640, 400) ?? { data: [] };
    return Array.from({ length: data.length / 4 }, (_, pixel) => [0, 1, 2].reduce((colour, part) => colour * 256 + (data[pixel * 4 + part] ?? 0), 0));
  });
  expect(new Set(seen).size).toBeGreaterThan(1);
  const hasAlpha = file[25] === 6;
  const taken = Array.from(picture.pixels, (pixel) => (hasAlpha ? Math.floor(pixel / 256) : pixel));
  expect(taken.findIndex((pixel, place) => pixel !== seen[place])).toBe(-1);
});

it.each([
  ['socket', 'WebSocket'],
  ['stream', 'streamed response'],
  ['poll', 'requests (long poll)'],
])('says when its line is a %s', async (transport, text) => {
  const { page } = await shown(`?transport=${transport}`);
  await page.click('#status');
  await expect.poll(() => page.textContent('#about-way')).toBe(text);
});

it('others who look are told of, and the end is warned of', async () => {
  const { stand, page } = await shown();
  const you = { name: 'ada', rights: 'control', you: true, sessions_own: true };
  const now = Math.floor(Date.now() / 1000);
  stand.set({ viewers: [you, { ...you, name: 'bob', rights: 'view', you: false }], idle_ends: now + 30 });
  await expect.poll(() => page.textContent('#status-text')).toContain('2 viewers');
  await page.click('#status');
  await expect.poll(() => page.textContent('#about-viewers')).toBe('ada (this page)bob, looks only');
  await page.keyboard.press('Escape');
  await expect.poll(() => page.textContent('#warning')).toContain('Nothing was done for long');
  await page.click('#warning-button');
  stand.set({ idle_ends: now + 1800 });
  await expect.poll(() => page.isVisible('#warning')).toBe(false);
});

describe.each(['socket', 'stream', 'poll'] as const)('the serial console through %s', (transport) => {
  it('shows what the VM writes and sends what is typed', async () => {
    const { stand, page } = await shown(`?transport=${transport}`);
    stand.say('login: ');
    await page.click('#tab-serial');
    await expect.poll(() => page.textContent('.xterm-rows')).toContain('login:');
    await page.keyboard.type('root\n');
    await expect.poll(() => stand.serial.typed).toBe('root\r');
    stand.say('\r\nPassword: ');
    await expect.poll(() => page.textContent('.xterm-rows')).toContain('Password:');
    stand.cut();
    stand.say('again');
    await expect.poll(() => page.textContent('.xterm-rows')).toContain('Password: again');
    await page.keyboard.type('x');
    await expect.poll(() => stand.serial.typed).toBe('root\rx');
    stand.viewers.clear();
    stand.cut();
    stand.say('\r\nfor another viewer');
    await expect.poll(() => page.textContent('.xterm-rows')).toMatch(/^login:.*Password: again.*for another viewer/);
    expect(stand.events.filter((event) => event !== 'release')).toEqual([]);
  });
});
