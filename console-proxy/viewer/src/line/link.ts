/** What the ways by which updates come (`socket`, `stream`, `polls`) have in common. */

import { BodyError } from '../body/error.ts';
import type { Sender } from '../input/sender.ts';
import type { Applied } from '../picture/picture.ts';
import { Backoff } from './backoff.ts';
import type { Limits } from './protocol.ts';
import { NoAnswer, Refusal, cure } from './refusal.ts';
import { askJson } from './request.ts';
import type { Bytes } from './request.ts';

/** A viewer's line. */
export interface Link {
  /** `/s/<session>/v/<viewer>`. */
  readonly path: string;
  readonly limits: Limits;
  readonly sender: Sender;
  /** The number of the last update that was applied. */
  after(): number;
  /** Applies an update. */
  body(bytes: Uint8Array): Promise<Applied>;
  state(state: unknown): void;
  /** The number of the last state. */
  stateNumber(): number;
  /** Something has come: this way works. */
  heard(): void;
  /** A request took so many milliseconds. */
  took(milliseconds: number): void;
}

/** Stays until the signal ends it or it fails. */
export type Way = (link: Link, signal: AbortSignal) => Promise<never>;

/** Milliseconds in which there is an answer to what is answered at once. */
const ANSWER = 10_000;

/** Fails when the signal does. */
export function ended(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}

/** Whether requests go through one connection, however many they are. */
export function multiplexed(): boolean {
  const [page] = performance.getEntriesByType('navigation') as PerformanceNavigationTiming[];
  return page?.nextHopProtocol === 'h2' || page?.nextHopProtocol === 'h3';
}

/** Applies an update and tells that it was. Fails if there is nothing to go on from. */
export async function applyInOrder(link: Link, bytes: Uint8Array): Promise<void> {
  const applied = await link.body(bytes);
  if (applied === 'out-of-order') throw new NoAnswer('an update is missing');
  link.sender.updated(bytes.length);
}

/** Whether the same is asked again after a failure. What is wrong with a body is mended by one that begins anew. */
export function isPassing(error: unknown): boolean {
  return cure(error) === 'again' || (error instanceof BodyError && error.fault !== 'version');
}

/** Posts batches until the signal ends it, again and again what may be lost. */
export const posts: Way = async (link, signal) => {
  const backoff = new Backoff();
  for (;;) {
    const turn = new AbortController();
    const both = AbortSignal.any([signal, turn.signal]);
    const send = async (bytes: Bytes): Promise<number | undefined> => {
      const start = performance.now();
      const answer = await askJson(`${link.path}/input`, { signal: both, limit: ANSWER, bytes });
      link.took(performance.now() - start);
      backoff.reset();
      return appliedOf(answer);
    };
    const failed = new Promise<unknown>((resolve) => link.sender.start({ most: multiplexed() ? 4 : 2, send }, resolve));
    try {
      const error = await Promise.race([failed, ended(signal)]);
      if (error instanceof Refusal && error.code === 'view_only') link.sender.discard();
      else if (!isPassing(error) || backoff.long) throw error;
    } finally {
      link.sender.stop();
      turn.abort(new NoAnswer('sent again'));
    }
    await backoff.wait(signal);
  }
};

/** Asks for each state after the one that is here. */
export const states: Way = async (link, signal) => {
  const backoff = new Backoff();
  const limit = (link.limits.wait_secs + 10) * 1000;
  for (;;) {
    try {
      const state = await askJson(`${link.path}/state?after=${link.stateNumber()}`, { signal, limit });
      backoff.reset();
      if (state !== undefined) link.state(state);
    } catch (error) {
      if (!isPassing(error) || backoff.long || signal.aborted) throw error;
      await backoff.wait(signal);
    }
  }
};

/** Reads `{"applied": N}`. */
export function appliedOf(json: unknown): number | undefined {
  const applied = typeof json === 'object' && json !== null ? (json as { applied?: unknown }).applied : undefined;
  return typeof applied === 'number' ? applied : undefined;
}
