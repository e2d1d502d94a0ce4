/** The line is lost in all ways that there are, and the page goes on by itself. */

import { describe, expect, it } from 'vitest';

import { Relay } from './relay.ts';
import { isWhite, phase, ready, white, world } from './world.ts';

const here = world();
const WAYS = ['socket', 'stream', 'poll'] as const;

/** How often something was asked for. */
const times = (asked: readonly string[], what: RegExp): number => asked.filter((one) => what.test(one)).length;

describe('ways', () => {
  it('a page that nothing lets through but requests polls, and does so at once the next time', async () => {
    const stand = await here.stand();
    stand.broken.add('socket').add('stream');
    const page = await here.page(stand.link());
    await ready(page);
    await expect.poll(() => isWhite(page, 0)).toBe(true);
    await page.reload();
    stand.asked.length = 0;
    await ready(page);
    expect(times(stand.asked, /socket|stream/)).toBe(0);
  });

  it('a page that gets no socket takes the stream', async () => {
    const stand = await here.stand();
    stand.broken.add('socket');
    const page = await here.page(stand.link());
    await ready(page);
    expect(times(stand.asked, /stream/)).toBe(1);
  });
});

describe.each(WAYS)('through %s', (way) => {
  it('a page goes on after its connections were cut', async () => {
    const stand = await here.stand();
    const page = await here.page(stand.link(`?transport=${way}`));
    await ready(page);
    for (let number = 2; number < 6; number += 1) {
      stand.cut();
      stand.push(white(number, number));
      await expect.poll(() => isWhite(page, number)).toBe(true);
    }
    expect(stand.viewers.size).toBe(1);
  });

  it('a page that is loaded again goes on without a link', async () => {
    const stand = await here.stand();
    const page = await here.page(stand.link(`?transport=${way}`));
    await ready(page);
    expect(new URL(page.url()).hash).toBe('');
    await page.reload();
    await ready(page);
    await expect.poll(() => isWhite(page, 0)).toBe(true);
    expect(times(stand.asked, /POST \/session/)).toBe(1);
    await expect.poll(() => stand.viewers.size).toBe(1);
  });

  it('a viewer that was forgotten is made again', async () => {
    const stand = await here.stand();
    const page = await here.page(stand.link(`?transport=${way}`));
    await ready(page);
    stand.viewers.clear();
    stand.cut();
    stand.push(white(2, 9));
    await expect.poll(() => isWhite(page, 9)).toBe(true);
  });

  it('a broken body is mended by one that begins anew', async () => {
    const stand = await here.stand();
    const page = await here.page(stand.link(`?transport=${way}`));
    await ready(page);
    const [first] = stand.bodies;
    stand.push(Uint8Array.from([1, 8, 2, 1, 77]));
    await expect.poll(() => times(stand.asked, /updates|stream|socket/)).toBeGreaterThan(1);
    stand.show([...(first ? [first] : []), white(3, 3).fill(2, 3, 4)]);
    await expect.poll(() => isWhite(page, 3)).toBe(true);
  });

  it('updates are acknowledged soon, so that more come than may be on their way', async () => {
    const stand = await here.stand();
    const page = await here.page(stand.link(`?transport=${way}`));
    await ready(page);
    for (let number = 2; number < 60; number += 1) stand.push(white(number, number));
    await expect.poll(() => isWhite(page, 59)).toBe(true);
    await expect.poll(() => [...stand.viewers.values()][0]?.acknowledged).toBe(59);
  });
});

it('a line that is lost without a word is found out, and what it showed goes on in another', async () => {
  const stand = await here.stand();
  const relay = new Relay(stand.port);
  await relay.listen();
  const link = (search: string): string => stand.link(search).replace(`:${stand.port}/`, `:${relay.port}/`);
  const [socket, stream] = [await here.page(link('?transport=socket')), await here.page(link('?transport=stream'))];
  await Promise.all([ready(socket), ready(stream)]);
  stand.say('login: ');
  await socket.click('#tab-serial');
  await expect.poll(() => socket.textContent('.xterm-rows')).toContain('login:');

  relay.lose();
  stand.push(white(2, 2));
  stand.say('root');

  const soon = { timeout: 60_000, interval: 500 };
  await expect.poll(() => socket.textContent('.xterm-rows'), soon).toContain('login: root');
  await expect.poll(() => isWhite(socket, 2), soon).toBe(true);
  await expect.poll(() => isWhite(stream, 2), soon).toBe(true);
  relay.stop();
}, 90_000);

it('a proxy that is lost without a word is soon left for another one', async () => {
  const [stand, other] = [await here.stand(), await here.stand()];
  // Asked of the management service, which is reached without the relay.
  stand.resumes = [{ status: 200, json: { url: other.link() } }];
  const relay = new Relay(stand.port);
  await relay.listen();
  const link = (way: string): string => stand.link(`?transport=${way}`).replace(`:${stand.port}/`, `:${relay.port}/`);
  // Polls find out by HTTP/2, which the stand-in does not speak (`real.test.ts`).
  const pages = await Promise.all(['socket', 'stream'].map((way) => here.page(link(way))));
  await Promise.all(pages.map(ready));

  relay.die();

  const soon = { timeout: 70_000, interval: 500 };
  await Promise.all(pages.map((page) => expect.poll(() => new URL(page.url()).origin, soon).toBe(other.origin)));
  relay.stop();
}, 90_000);

describe('sessions', () => {
  it('a link whose answer was lost is not lost itself', async () => {
    const stand = await here.stand();
    stand.loses = 'once';
    const page = await here.page(stand.link());
    await ready(page);
    expect(times(stand.asked, /POST \/session/)).toBe(2);
    expect(times(stand.asked, /POST .*viewers/)).toBe(1);
  });

  it('a link to a VM that was stopped says so', async () => {
    const stand = await here.stand();
    stand.refuses = { status: 409, code: 'vm_not_running' };
    const page = await here.page(stand.link());
    await expect.poll(() => page.textContent('#notice-text')).toBe('vm_not_running');
  });

  it('a proxy that has begun anew is found again by a new link', async () => {
    const stand = await here.stand();
    const page = await here.page(stand.link());
    await ready(page);
    stand.resumes = [{ status: 202, json: { wait: 0.5, progress: 'a console proxy starts' } }];
    stand.forget();
    await expect.poll(() => page.textContent('#notice-text')).toBe('a console proxy starts');
    stand.resumes = [{ status: 200, json: { url: stand.link() } }];
    stand.push(white(2, 5));
    await expect.poll(() => isWhite(page, 5)).toBe(true);
    await expect.poll(() => phase(page)).toBe('on');
  });

  it('a proxy that is gone is left for another one', async () => {
    const [stand, other] = [await here.stand(), await here.stand()];
    other.show([...other.bodies, white(2, 7)]);
    // The management service is on another machine than the proxy.
    stand.resumes = [{ status: 200, json: { url: other.link() } }];
    const page = await here.page(stand.link('?transport=poll'));
    await ready(page);
    // The stand-in for both can only forget its viewers and refuse; its management service stays.
    stand.refuses = { status: 409, code: 'moved' };
    stand.cut();
    await expect.poll(() => new URL(page.url()).origin).toBe(other.origin);
    await ready(page);
    await expect.poll(() => isWhite(page, 7)).toBe(true);
    expect(new URL(page.url()).search).toBe('?transport=poll');
  });

  it('a proxy that is going is left once there is another, and not before', async () => {
    const [stand, other] = [await here.stand(), await here.stand()];
    const page = await here.page(stand.link());
    await ready(page);
    stand.resumes = [{ status: 503, json: {} }];
    stand.set({ draining: true });
    stand.push(white(2, 5));
    await expect.poll(() => isWhite(page, 5)).toBe(true);
    await expect.poll(() => phase(page)).toBe('on');
    stand.resumes = [{ status: 200, json: { url: other.link() } }];
    await expect.poll(() => new URL(page.url()).origin).toBe(other.origin);
  });

  it('what was revoked is over, and says so', async () => {
    const stand = await here.stand();
    const page = await here.page(stand.link());
    await ready(page);
    stand.refuses = { status: 410, code: 'session_ended', reason: 'revoked' };
    stand.cut();
    await expect.poll(() => phase(page)).toBe('over');
    expect(await page.textContent('#notice-text')).toContain('no longer see this console');
    // What was on its way may still come.
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const asked = stand.asked.length;
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(stand.asked.length).toBe(asked);
  });

  it('what was idle for long goes on when the user wants it to', async () => {
    const stand = await here.stand();
    const page = await here.page(stand.link());
    await ready(page);
    stand.refuses = { status: 410, code: 'session_ended', reason: 'idle' };
    stand.cut();
    await expect.poll(() => phase(page)).toBe('over');
    await page.reload();
    await expect.poll(() => phase(page)).toBe('over');
    stand.refuses = undefined;
    stand.resumes = [{ status: 200, json: { url: stand.link() } }];
    await page.click('#notice-button');
    await ready(page);
  });

  it('a link that can no longer be used says so', async () => {
    const stand = await here.stand();
    stand.refuses = { status: 401, code: 'ticket_expired' };
    const page = await here.page(stand.link());
    await expect.poll(() => page.textContent('#notice-text')).toBe('This link can no longer be used. Ask for a new one.');
  });

  it('a display that is away dims the picture and comes back', async () => {
    const stand = await here.stand();
    const page = await here.page(stand.link());
    await ready(page);
    stand.set({ line: 'waiting', reason: 'the machine restarts' });
    await expect.poll(() => page.textContent('#notice-text')).toContain('the machine restarts');
    stand.set({ line: 'on', reason: null });
    await expect.poll(() => page.isVisible('#notice')).toBe(false);
  });

  it('a page that cannot be seen tells so, and gets nothing until it can', async () => {
    const stand = await here.stand();
    const page = await here.page(stand.link());
    await ready(page);
    const hide = (hidden: boolean) =>
      page.evaluate((hidden) => {
        Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
        document.dispatchEvent(new Event('visibilitychange'));
      }, hidden);
    await hide(true);
    await expect.poll(() => [...stand.viewers.values()][0]?.hidden).toBe(true);
    stand.push(white(2, 5));
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await isWhite(page, 5)).toBe(false);
    await hide(false);
    await expect.poll(() => isWhite(page, 5)).toBe(true);
  });
});
