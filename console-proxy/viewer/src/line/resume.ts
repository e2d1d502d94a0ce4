/** Asks the management service for another link (`PROTOCOL.md`, "Resume"). */

import type { Resume } from './protocol.ts';
import { NoAnswer, Refusal, refusal } from './refusal.ts';
import { failed, sleep } from './request.ts';

/** Milliseconds until there is an answer. */
const ANSWER = 10_000;

/** Seconds between questions at least and at most, whatever the answer says. */
const [SOONEST, LATEST] = [0.5, 30];

/**
 * Gives the link once there is one; `progress` is told what it waits for.
 *
 * Fails with a `Refusal` of status 410 if the session is over, and with `NoAnswer` if it may work later.
 */
export async function link(resume: Resume, signal: AbortSignal, progress: (text: string) => void): Promise<string> {
  for (;;) {
    const answer = await ask(resume, signal);
    if (typeof answer['url'] === 'string') return answer['url'];
    if (typeof answer['progress'] === 'string') progress(answer['progress']);
    const wait = typeof answer['wait'] === 'number' ? answer['wait'] : 2;
    await sleep(Math.min(Math.max(wait, SOONEST), LATEST) * 1000, signal);
  }
}

async function ask({ url, token }: Resume, signal: AbortSignal): Promise<Record<string, unknown>> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      mode: 'cors',
      credentials: 'omit',
      cache: 'no-store',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token }),
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER)]),
    });
    if (response.ok) return (await response.json()) as Record<string, unknown>;
    const { message, reason } = refusal(response.status, await response.text());
    if ([401, 403, 404, 410].includes(response.status)) throw new Refusal(410, 'session_ended', message, reason ?? 'revoked');
    throw new NoAnswer(message);
  } catch (error) {
    throw failed(error, signal);
  }
}
