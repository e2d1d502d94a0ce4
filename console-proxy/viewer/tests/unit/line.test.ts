import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { Choice, wayOf } from '../../src/line/choice.ts';
import { sessionOf, start, target } from '../../src/line/place.ts';
import { Early, Missing } from '../../src/line/polls.ts';
import { opened } from '../../src/line/protocol.ts';
import { NoAnswer, Refusal, closed, cure, refusal } from '../../src/line/refusal.ts';
import { Messages } from '../../src/line/stream.ts';
import { Keyed } from '../../src/serial/keyed.ts';

describe('what is done about failures', () => {
  it.each<[number, string, string]>([
    [401, 'session_unknown', 'resume'], [401, 'ticket_expired', 'resume'], [409, 'moved', 'resume'], [408, '', 'again'], [404, 'viewer_unknown', 'viewer'],
    [404, 'not_found', 'fault'], [410, 'session_ended', 'ended'], [429, 'too_many', 'wait'], [500, '', 'again'], [503, '', 'again'], [504, '', 'again'],
    [400, 'invalid', 'fault'], [403, 'origin', 'fault'], [413, 'too_large', 'fault'],
  ])('%d %s: %s', (status, code, expected) => expect(cure(new Refusal(status, code, ''))).toBe(expected));

  it('no answer is asked for again, and what is the page\'s own fault is not', () => {
    expect([cure(new NoAnswer('')), cure(new TypeError(''))]).toEqual(['again', 'fault']);
  });

  it('reads errors, and pages of what is between', () => {
    expect(refusal(429, '{"code":"too_many","message":"m"}', '7')).toMatchObject({ code: 'too_many', message: 'm', wait: 7 });
    expect(refusal(502, '<html>', 'soon')).toMatchObject({ code: '', wait: undefined });
    expect(refusal(410, '{"code":"session_ended","reason":"idle"}')).toMatchObject({ reason: 'idle' });
  });

  it('reads why a socket was closed', () => {
    expect(cure(closed(4401, 'session_unknown'))).toBe('resume');
    expect(cure(closed(4404, ''))).toBe('viewer');
    expect(closed(4410, '{"code":"session_ended","reason":"revoked"}')).toMatchObject({ status: 410, reason: 'revoked' });
    expect(cure(closed(1013, ''))).toBe('wait');
    expect([closed(1001, ''), closed(1006, '')]).toEqual([undefined, undefined]);
  });
});

describe('an update that others are kept for', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('is waited for once, however many come after it, and not any more once it is here', () => {
    const late = vi.fn();
    const missing = new Missing(late);
    missing.told(0, 1);
    vi.advanceTimersByTime(1000);
    missing.told(0, 2);
    missing.told(3, 0);
    vi.advanceTimersByTime(60_000);
    expect(late).not.toHaveBeenCalled();
  });

  it('is late some time after the first was kept, and after any was applied', () => {
    const late = vi.fn();
    const missing = new Missing(late);
    missing.told(0, 1);
    vi.advanceTimersByTime(2000);
    missing.told(1, 1);
    vi.advanceTimersByTime(2000);
    expect(late).not.toHaveBeenCalled();
    missing.told(0, 2);
    vi.advanceTimersByTime(1500);
    expect(late).toHaveBeenCalledTimes(1);
  });
});

describe('ways', () => {
  it('the next one is tried when nothing has come, and after the last the first', () => {
    const choice = new Choice(undefined, undefined);
    const tried = Array.from({ length: 4 }, () => {
      const { way } = choice;
      choice.failed();
      return way;
    });
    expect(tried).toEqual(['socket', 'stream', 'poll', 'socket']);
  });

  it('one that has worked is tried again before another is', () => {
    const choice = new Choice(undefined, 'stream');
    choice.works();
    choice.failed();
    expect(choice.way).toBe('stream');
    choice.failed();
    expect(choice.way).toBe('poll');
  });

  it('one that is forced is the only one', () => {
    const choice = new Choice(wayOf('poll'), 'socket');
    choice.failed();
    expect([choice.way, wayOf('pigeon')]).toEqual(['poll', undefined]);
  });
});

describe('places', () => {
  const claims = btoa(JSON.stringify({ session: '0193c5a1-0000-7000-8000-000000000000' })).replaceAll('=', '');

  it('a link has a ticket, and that a session', () => {
    expect(start({ hash: `#${claims}.x`, pathname: '/' })).toEqual({ ticket: `${claims}.x`, session: '0193c5a1-0000-7000-8000-000000000000' });
    expect(sessionOf('nonsense')).toBeUndefined();
  });

  it('a page that is loaded again has a session', () => {
    expect(start({ hash: '', pathname: '/s/0193c5a1-0000-7000-8000-000000000000' }).session).toBe('0193c5a1-0000-7000-8000-000000000000');
    expect(start({ hash: '', pathname: '/s/../x' }).session).toBeUndefined();
  });

  it('another proxy is told the same', () => {
    expect(target('https://other/#t', '?transport=poll').href).toBe('https://other/?transport=poll#t');
  });
});

describe('messages of a stream', () => {
  const bytes = [1, 0, 0, 0, 2, 9, 8, 3, 0, 0, 0, 0, 2, 0, 0, 0, 1, 7];

  it.each([1, 2, 5, 7, 100])('are whole, whatever pieces of %d they come in', (length) => {
    const messages = new Messages();
    const found: unknown[] = [];
    for (let at = 0; at < bytes.length; at += length) {
      for (const { kind, bytes: body } of messages.push(Uint8Array.from(bytes.slice(at, at + length)))) found.push([kind, [...body]]);
    }
    expect(found).toEqual([[1, [9, 8]], [3, []], [2, [7]]]);
  });

  it('are not longer than any picture', () => {
    expect(() => new Messages().push(Uint8Array.from([1, 0x7f, 0, 0, 0]))).toThrow(NoAnswer);
  });
});

describe('updates that overtake one another', () => {
  it('wait for the one before', async () => {
    let have = 0;
    const early = new Early(async (body) => {
      const [number = 0] = body;
      if (number <= have) return 'old';
      if (number !== have + 1) return 'out-of-order';
      have = number;
      return 'new';
    });
    const arrived = async (number: number) => (await early.arrived(Uint8Array.from([number]))).map(([one]) => one);
    expect(await arrived(3)).toEqual([]);
    expect(await arrived(2)).toEqual([]);
    expect(early.kept).toBe(2);
    expect(await arrived(1)).toEqual([1, 2, 3]);
    expect(await arrived(2)).toEqual([]);
    expect(early.kept).toBe(0);
  });
});

it('what a proxy says is looked at', () => {
  expect(() => opened({ protocol: 2 })).toThrow('version 2');
  expect(() => opened(null)).toThrow('no object');
  expect(() => opened({ protocol: 1, vm: {}, limits: {}, session: 's', viewer: 'v' })).toThrow('"id"');
});

describe('bytes for the serial console', () => {
  it('are counted, and sent again from what was applied', () => {
    const keyed = new Keyed();
    keyed.push(Uint8Array.from([1, 2, 3, 4]));
    expect(keyed.next(3)).toEqual({ first: 0, bytes: Uint8Array.from([1, 2, 3]) });
    keyed.applied(2);
    keyed.push(Uint8Array.from([5]));
    expect(keyed.next(9)).toEqual({ first: 2, bytes: Uint8Array.from([3, 4, 5]) });
    keyed.applied(1);
    keyed.applied(5);
    expect(keyed.next(9)).toBeUndefined();
    keyed.reset();
    keyed.push(Uint8Array.from([6]));
    expect(keyed.next(9)?.first).toBe(0);
  });

  it('do not fill the memory', () => {
    const keyed = new Keyed();
    for (let part = 0; part < 5; part += 1) keyed.push(new Uint8Array(2 ** 19));
    expect(keyed.next(Infinity)?.bytes.length).toBe(2 ** 20);
  });
});
