/** Finds out in silence that a proxy is gone, where a connection that died without a word is noticed after minutes. */

import type { Link } from './link.ts';
import { cure } from './refusal.ts';
import { askJson } from './request.ts';

/** Milliseconds of silence after which the proxy is asked, and in which it answers; and in which one of two answers comes. */
const SILENCE = 12_000;
const ANSWER = 6000;
const ANSWERS = 9000;

/** Asks, and once more if an answer is lost; fails if the proxy does not answer. */
export async function answers(link: Link, signal: AbortSignal): Promise<void> {
  const begun = performance.now();
  const ask = async (limit: number): Promise<void> => {
    const start = performance.now();
    const state = await askJson(`${link.path}/state?after=0`, { signal, limit });
    link.took(performance.now() - start);
    if (state !== undefined) link.state(state);
  };
  try {
    await ask(ANSWER);
  } catch (error) {
    if (signal.aborted || cure(error) !== 'again') throw error;
    await ask(Math.max(begun + ANSWERS - performance.now(), 0));
  }
}

/** Fails when the proxy does not answer. `silence` are the milliseconds since something has come. A page that nobody sees does not ask. */
export async function alive(link: Link, silence: () => number, signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    let asked = 0;
    const ask = (): void => {
      if (document.hidden || silence() < SILENCE) return;
      asked = performance.now();
      answers(link, signal).catch(reject);
    };
    const timer = setInterval(() => {
      if (performance.now() - asked >= SILENCE) ask();
    }, 1000);
    document.addEventListener('visibilitychange', ask);
    addEventListener('online', ask);
    signal.addEventListener('abort', () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', ask);
      removeEventListener('online', ask);
    });
  });
}
