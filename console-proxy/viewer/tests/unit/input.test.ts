import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { batch, encode } from '../../src/input/event.ts';
import type { InputEvent } from '../../src/input/event.ts';
import { InputQueue } from '../../src/input/queue.ts';
import { Sender } from '../../src/input/sender.ts';
import { NoAnswer } from '../../src/line/refusal.ts';
import type { Bytes } from '../../src/line/request.ts';

const key = (scancode: number): InputEvent => ({ kind: 'down', scancode, keysym: 0 });
const at = (x: number, buttons = 0): InputEvent => ({ kind: 'pointer', buttons, x, y: 0 });

describe('events are as PROTOCOL.md has them', () => {
  it.each<[InputEvent, number[]]>([
    [{ kind: 'down', scancode: 0x9d, keysym: 0xffe4 }, [1, 0x9d, 1, 0xe4, 0xff, 3]],
    [{ kind: 'up', scancode: 0, keysym: 0x61 }, [2, 0, 0x61]],
    [{ kind: 'pointer', buttons: 5, x: 300, y: 0 }, [3, 5, 0xac, 2, 0]],
    [{ kind: 'move', buttons: 0, right: -2, down: 64 }, [4, 0, 3, 0x80, 1]],
    [{ kind: 'release' }, [5]],
    [{ kind: 'clipboard', text: 'ü' }, [6, 2, 0xc3, 0xbc]],
  ])('%o', (event, bytes) => expect([...encode(event)]).toEqual(bytes));

  it('batches have a head', () => {
    const bytes = batch({ hidden: true, here: true, after: 300, first: 7 }, [encode({ kind: 'release' })]);
    expect([...bytes]).toEqual([1, 3, 0xac, 2, 7, 5]);
  });
});

describe('queue', () => {
  it('merges moves that wait, and adds relative ones', () => {
    const queue = new InputQueue();
    for (const x of [1, 2, 3]) queue.push(at(x));
    expect(queue.take(1000).events.map((event) => [...event])).toEqual([[3, 0, 3, 0]]);
    for (const right of [1, -4]) queue.push({ kind: 'move', buttons: 0, right, down: 1 });
    expect(queue.take(1000).events.map((event) => [...event])).toEqual([[4, 0, 5, 4]]);
  });

  it('does not merge what was under way once', () => {
    const queue = new InputQueue();
    queue.push(at(1));
    queue.take(1000);
    queue.rewind();
    queue.push(at(2));
    expect(queue.take(1000)).toMatchObject({ first: 1, end: 3 });
  });

  it('does not make a drag of a click that is followed by a move', () => {
    const queue = new InputQueue();
    for (const event of [at(1), at(1, 1), at(1), at(9), at(10)]) queue.push(event);
    expect(queue.take(1000).events.map((event) => [event[1], event[2]])).toEqual([[0, 1], [1, 1], [0, 1], [0, 10]]);
  });

  it('sends again what was not applied, with the same numbers', () => {
    const queue = new InputQueue();
    for (let number = 1; number <= 5; number += 1) queue.push(key(number));
    expect(queue.take(1000)).toMatchObject({ first: 1, end: 6 });
    queue.applied(2);
    queue.rewind();
    const again = queue.take(1000);
    expect([again.first, again.events.map((event) => event[1])]).toEqual([3, [3, 4, 5]]);
    queue.applied(5);
    expect([queue.length, queue.take(1000).first]).toEqual([0, 6]);
  });

  it('passes over what it is told twice or too early', () => {
    const queue = new InputQueue();
    queue.push(key(1));
    queue.applied(0);
    expect(queue.length).toBe(1);
    queue.applied(1);
    queue.applied(1);
    queue.applied(9);
    queue.push(key(2));
    expect(queue.take(1000).first).toBe(2);
  });

  it('takes as many as there is room for, and at least one', () => {
    const queue = new InputQueue();
    for (let number = 1; number <= 5; number += 1) queue.push(key(number));
    expect([queue.take(7).end, queue.take(1).end, queue.take(0).end]).toEqual([3, 4, 4]);
  });

  it('lets all keys go when it had no room for some', () => {
    const queue = new InputQueue();
    for (let number = 0; number < 5000; number += 1) queue.push(key(number % 100));
    expect(queue.length).toBe(4096);
    queue.applied(4096);
    expect([...(queue.take(1000).events[0] ?? [])]).toEqual([5]);
  });
});

describe('sender', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  interface Sent {
    bytes: number[];
    answer(applied?: number): Promise<void>;
    lose(): Promise<void>;
  }

  const begin = (most = 4) => {
    const sent: Sent[] = [];
    let failure: unknown;
    const sender = new Sender(() => 1000, () => 5);
    const settle = () => vi.advanceTimersByTimeAsync(0);
    const start = () => {
      const send = (bytes: Bytes) =>
        new Promise<number | undefined>((resolve, reject) => {
          sent.push({
            bytes: [...bytes],
            answer: (applied) => (resolve(applied), settle().then(() => undefined)),
            lose: () => (reject(new NoAnswer('lost')), settle().then(() => undefined)),
          });
        });
      sender.start({ most, send }, (error) => (failure = error));
    };
    start();
    return { sender, sent, start, failure: () => failure };
  };

  it('sends keys at once, and as many batches as may be under way', async () => {
    const { sender, sent } = begin();
    for (let number = 1; number <= 6; number += 1) sender.push(key(number));
    expect(sent.map(({ bytes }) => bytes[3])).toEqual([1, 2, 3, 4]);
    await sent[0]?.answer(1);
    expect(sent[4]?.bytes).toEqual([1, 0, 5, 5, 1, 5, 0, 1, 6, 0]);
  });

  it('lets moves wait for one another', () => {
    const { sender, sent } = begin();
    for (let x = 1; x <= 9; x += 1) sender.push(at(x));
    expect(sent.length).toBe(2);
    sender.push(key(1));
    expect(sent[2]?.bytes.slice(3)).toEqual([3, 3, 0, 9, 0, 1, 1, 0]);
  });

  it('sends again what was lost', async () => {
    const { sender, sent, start, failure } = begin();
    sender.push(key(1));
    sender.push(key(2));
    await sent[0]?.lose();
    expect(failure()).toBeInstanceOf(NoAnswer);
    sender.stop();
    start();
    expect(sent[2]?.bytes.slice(3)).toEqual([1, 1, 1, 0, 1, 2, 0]);
    // What comes of the first attempt now is not looked at.
    await sent[1]?.answer(2);
    await sent[2]?.answer(2);
    expect(sender.waiting).toBe(0);
  });

  it('sends again what the proxy waited for in vain', async () => {
    const { sender, sent } = begin();
    sender.push(key(1));
    sender.push(key(2));
    await sent[1]?.answer(0);
    await sent[0]?.answer(0);
    expect(sent[2]?.bytes.slice(3)).toEqual([1, 1, 1, 0, 1, 2, 0]);
  });

  it('acknowledges updates soon, and large ones at once', async () => {
    const { sender, sent } = begin();
    sender.updated(10);
    expect(sent.length).toBe(0);
    await vi.advanceTimersByTimeAsync(60);
    expect(sent.map(({ bytes }) => bytes)).toEqual([[1, 0, 5, 1]]);
    sender.updated(100_000);
    expect(sent.length).toBe(2);
    sender.updated(10);
    sender.acknowledged();
    await vi.advanceTimersByTimeAsync(500);
    expect(sent.length).toBe(2);
  });

  it('tells at once that the page cannot be seen, and that the user is still here', () => {
    const { sender, sent } = begin();
    sender.hide(true);
    sender.here();
    sender.hide(false);
    expect(sent.map(({ bytes }) => bytes[1])).toEqual([1, 3, 0]);
  });

  it('tells again and again that a key is down', async () => {
    const { sender, sent } = begin();
    sender.hold(true);
    await vi.advanceTimersByTimeAsync(3500);
    sender.hold(false);
    await vi.advanceTimersByTimeAsync(3500);
    expect(sent.length).toBe(3);
  });

  it('forgets for another viewer what was not known to be applied', () => {
    const { sender, sent, start } = begin();
    sender.push(key(1));
    sender.reset();
    start();
    sender.push(key(2));
    expect(sent.at(-1)?.bytes.slice(3)).toEqual([1, 1, 2, 0]);
  });
});
