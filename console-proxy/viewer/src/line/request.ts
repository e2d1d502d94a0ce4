/** Requests to the proxy: with a limit of time, and with errors that say what to do. */

import { NoAnswer, refusal } from './refusal.ts';

/** Bytes in memory of their own, which is what may be posted. */
export type Bytes = Uint8Array<ArrayBuffer>;

export interface Asked {
  readonly signal: AbortSignal;
  /** Milliseconds until there must be a head of an answer, and, unless the body is streamed, all of it. */
  readonly limit: number;
  readonly json?: unknown;
  readonly bytes?: Bytes;
}

/** Asks, and gives an answer that is no error. Its body comes later. */
export async function ask(path: string, { signal, limit, json, bytes }: Asked): Promise<Response> {
  const posts = json !== undefined || bytes !== undefined;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), limit);
  try {
    const response = await fetch(path, {
      method: posts ? 'POST' : 'GET',
      ...(json === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(json) }),
      ...(bytes === undefined ? {} : { headers: { 'content-type': 'application/octet-stream' }, body: bytes }),
      cache: 'no-store',
      redirect: 'error',
      signal: AbortSignal.any([signal, late.signal]),
    });
    if (response.ok) return response;
    throw refusal(response.status, await response.text(), response.headers.get('retry-after'));
  } catch (error) {
    throw failed(error, signal);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks, and gives the whole body; undefined if there is none (204). */
export async function askBytes(path: string, asked: Asked): Promise<Bytes | undefined> {
  const response = await ask(path, asked);
  if (response.status === 204) return undefined;
  return new Uint8Array(await whole(response.arrayBuffer(), asked));
}

/** Asks, and gives the JSON of the answer; undefined if there is none (204). */
export async function askJson(path: string, asked: Asked): Promise<unknown> {
  const response = await ask(path, asked);
  return response.status === 204 ? undefined : whole(response.json(), asked);
}

/** A failure of `fetch` as what it means here; the caller's own end stays what it is. */
export function failed(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  const ours = error instanceof TypeError || error instanceof DOMException || error instanceof SyntaxError;
  return ours ? new NoAnswer('no answer', { cause: error }) : error;
}

async function whole<Body>(body: Promise<Body>, { signal, limit }: Asked): Promise<Body> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new NoAnswer('the answer does not end')), limit);
  });
  try {
    return await Promise.race([body, late]);
  } catch (error) {
    throw failed(error, signal);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits, unless it is to end. */
export function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, milliseconds);
    signal.addEventListener('abort', stop, { once: true });
  });
}
