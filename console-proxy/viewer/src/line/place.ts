/** Where a page is: its ticket or its session, and what is kept in the tab for when it is loaded again. */

import { resume } from './protocol.ts';
import type { Resume } from './protocol.ts';

/** What a page begins with. */
export interface Start {
  readonly ticket: string | undefined;
  readonly session: string | undefined;
}

const SESSION = /^\/s\/([0-9a-f-]{36})$/;

/** Reads the ticket or the session out of the page's address. */
export function start(address: Pick<Location, 'hash' | 'pathname'>): Start {
  const ticket = address.hash.slice(1) || undefined;
  return { ticket, session: (ticket ? sessionOf(ticket) : undefined) ?? SESSION.exec(address.pathname)?.[1] };
}

/** The session that a ticket is for, as it says itself; the proxy checks it. */
export function sessionOf(ticket: string): string | undefined {
  try {
    const claims = atob((ticket.split('.')[0] ?? '').replaceAll('-', '+').replaceAll('_', '/'));
    const { session } = JSON.parse(claims) as { session?: unknown };
    return typeof session === 'string' ? session : undefined;
  } catch {
    return undefined;
  }
}

/** Where a link leads, with what this page's address says beside the ticket. */
export function target(link: string, search: string): URL {
  const url = new URL(link);
  url.search = search;
  return url;
}

const key = (session: string): string => `podzol-resume-${session}`;

/** What gets another link for a session, as long as the tab is open. */
export function kept(session: string): Resume | undefined {
  try {
    return resume(JSON.parse(sessionStorage.getItem(key(session)) ?? 'null'));
  } catch {
    return undefined;
  }
}

export function keep(session: string, value: Resume | undefined): void {
  try {
    if (value) sessionStorage.setItem(key(session), JSON.stringify(value));
    else sessionStorage.removeItem(key(session));
  } catch {
    // A browser may forbid it: then a page that is loaded again needs a new link.
  }
}
