/** What a proxy refuses, and what a page does then (`PROTOCOL.md`, "Errors"). */

/** No answer, or one that was cut short. */
export class NoAnswer extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'NoAnswer';
  }
}

/** An answer that is an error. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  readonly reason: string | undefined;
  /** Seconds to wait before asking again, if it says so. */
  readonly wait: number | undefined;

  constructor(status: number, code: string, message: string, reason?: string, wait?: number) {
    super(message);
    this.name = 'Refusal';
    this.status = status;
    this.code = code;
    this.reason = reason;
    this.wait = wait;
  }
}

/**
 * What to do: ask `again`, the same after a while (`wait`), ask for another `viewer`, for another link (`resume`), or nothing
 * more: the session has `ended`, or it is the page's own `fault`.
 */
export type Cure = 'again' | 'wait' | 'viewer' | 'resume' | 'ended' | 'fault';

/** What to do about a failure. */
export function cure(failure: unknown): Cure {
  if (!(failure instanceof Refusal)) return failure instanceof NoAnswer ? 'again' : 'fault';
  const { status, code } = failure;
  if (code === 'repeated') return 'again';
  if (status === 401 || status === 409) return 'resume';
  if (status === 404 && code === 'viewer_unknown') return 'viewer';
  if (status === 410) return 'ended';
  if (status === 429) return 'wait';
  return status >= 500 || status === 408 ? 'again' : 'fault';
}

/** Reads the body of an error. */
export function refusal(status: number, body: string, retryAfter: string | null = null): Refusal {
  const wait = retryAfter === null || !/^\d+$/.test(retryAfter) ? undefined : Number(retryAfter);
  let of: Record<string, unknown> = {};
  try {
    const json: unknown = JSON.parse(body);
    if (typeof json === 'object' && json !== null) of = json as Record<string, unknown>;
  } catch {
    // What stands between may answer with its own pages.
  }
  const text = (name: string): string | undefined => (typeof of[name] === 'string' ? of[name] : undefined);
  const message = text('message') ?? text('detail') ?? `the answer was ${status}`;
  return new Refusal(status, text('code') ?? '', message, text('reason'), wait);
}

/** Reads why the proxy closed a socket; undefined if nothing was refused. */
export function closed(code: number, reason: string): Refusal | undefined {
  const statuses: Record<number, number> = { 4401: 401, 4404: 404, 4410: 410, 1008: 400, 1013: 429 };
  const status = statuses[code];
  if (status === undefined) return undefined;
  if (reason.startsWith('{')) return refusal(status, reason);
  return new Refusal(status, reason || (status === 404 ? 'viewer_unknown' : ''), reason || `the proxy closed the line (${code})`);
}
