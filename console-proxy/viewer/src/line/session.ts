/**
 * A page's session with a proxy, from its link to its end. It goes on by itself after whatever may pass: a lost network, a page
 * that is loaded again, a proxy that is gone.
 *
 * ```text
 *   ticket ---opened---> stay ---viewer is forgotten---> viewer ---opened---> stay
 *      ^                  |  \
 *      |                  |   +--- no answer for 8 s, session not known, moved ---> resume
 *      |                  +--- ended ---> over                                        |
 *      +--------- a link to this proxy --------------------------------------------+--+--> another proxy's page
 * ```
 *
 * While no answer comes, `resume` and `viewer` take turns: whichever is there first, the management service or the proxy.
 */

import { BodyError } from '../body/error.ts';
import type { Sender } from '../input/sender.ts';
import { Backoff } from './backoff.ts';
import type { Choice, WayName } from './choice.ts';
import { isPassing } from './link.ts';
import type { Link, Way } from './link.ts';
import { keep, kept, sessionOf, target } from './place.ts';
import type { Start } from './place.ts';
import { polls } from './polls.ts';
import { opened as readOpened, state as readState } from './protocol.ts';
import type { Opened, Resume, State } from './protocol.ts';
import { NoAnswer, Refusal, cure } from './refusal.ts';
import { askJson, sleep } from './request.ts';
import { link as anotherLink } from './resume.ts';
import { socket } from './socket.ts';
import { stream } from './stream.ts';

/** How the line to the proxy is. `away` and `moving` end by themselves, `over` does not. */
export type Phase =
  | { readonly is: 'opening' | 'on' }
  | { readonly is: 'away'; readonly since: number }
  | { readonly is: 'moving'; readonly progress: string }
  | { readonly is: 'over'; readonly message: string; readonly again: boolean };

/** What a page is told. */
export interface SessionEvents {
  phase(phase: Phase): void;
  opened(opened: Opened): void;
  state(state: State): void;
  way(way: WayName): void;
  took(milliseconds: number): void;
  /** Leaves this page for another one. */
  go(url: URL): void;
}

/** The picture, as far as a line knows it. */
export interface Shown {
  readonly number: number;
  forget(): void;
  apply(body: Uint8Array): ReturnType<Link['body']>;
}

const WAYS: Record<WayName, Way> = { socket, stream, poll: polls };

/** Milliseconds until a proxy has opened a viewer. */
const OPEN = 10_000;

type Step = { is: 'ticket'; ticket: string } | { is: 'viewer' } | { is: 'stay' } | { is: 'resume' } | { is: 'over' };

export class Session {
  readonly #sender: Sender;
  readonly #picture: Shown;
  readonly #events: SessionEvents;
  readonly #choice: Choice;
  readonly #backoff = new Backoff();
  readonly #end = new AbortController();
  #step: Step;
  #session: string | undefined;
  #opened: Opened | undefined;
  #state: State | undefined;
  #faults = 0;
  /** Ends the stay at this proxy. */
  #leaving: AbortController | undefined;
  #draining = false;
  #isAway = false;

  constructor(start: Start, choice: Choice, picture: Shown, sender: Sender, events: SessionEvents) {
    this.#step = start.ticket ? { is: 'ticket', ticket: start.ticket } : { is: 'viewer' };
    this.#session = start.session;
    this.#choice = choice;
    this.#picture = picture;
    this.#sender = sender;
    this.#events = events;
  }

  /** `/s/<session>/v/<viewer>` of the viewer that is open. */
  get path(): string | undefined {
    return this.#opened && `/s/${this.#opened.session}/v/${this.#opened.viewer}`;
  }

  /** What gets another link, if there is one: also after the page was loaded again. */
  get #token(): Resume | undefined {
    return this.#opened?.resume ?? (this.#session ? kept(this.#session) : undefined);
  }

  /** Goes on until the session is over. */
  async run(): Promise<void> {
    this.#events.phase({ is: 'opening' });
    while (this.#step.is !== 'over') {
      try {
        await this.#take(this.#step);
      } catch (error) {
        await this.#failed(error);
      }
    }
  }

  /** Tells the proxy that this page goes. */
  leave(): void {
    if (this.path) void fetch(`${this.path}/leave`, { method: 'POST', keepalive: true }).catch(() => undefined);
  }

  /** Asks for a new link, after the session has ended by itself. */
  again(): void {
    if (this.#step.is !== 'over') return;
    this.#step = { is: 'resume' };
    void this.run();
  }

  async #take(step: Step): Promise<void> {
    const signal = this.#end.signal;
    switch (step.is) {
      case 'ticket':
        this.#session = sessionOf(step.ticket) ?? this.#session;
        return this.#open('/session', { ticket: step.ticket });
      case 'viewer':
        if (!this.#session) throw new Refusal(410, 'session_ended', 'This page needs a link to a console.', 'link');
        return this.#open(`/s/${this.#session}/viewers`, {});
      case 'stay':
        return this.#stay(signal);
      case 'resume':
        return this.#resume(signal);
      case 'over':
        return;
    }
  }

  async #open(path: string, json: unknown): Promise<void> {
    const start = performance.now();
    const answer = readOpened(await askJson(path, { signal: this.#end.signal, limit: OPEN, json }));
    this.#events.took(performance.now() - start);
    // What was not known to be applied is not told to another viewer: it may be late.
    this.#sender.reset();
    this.#picture.forget();
    this.#opened = answer;
    this.#session = answer.session;
    keep(answer.session, answer.resume);
    history.replaceState(null, '', `/s/${answer.session}${location.search}`);
    this.#step = { is: 'stay' };
    this.#events.opened(answer);
    this.#told(answer.state);
  }

  /** Takes updates by one way after the other until something else must be done. */
  async #stay(end: AbortSignal): Promise<void> {
    const opened = this.#opened;
    if (!opened) throw new Error('nothing is open');
    this.#leaving = new AbortController();
    const signal = AbortSignal.any([end, this.#leaving.signal]);
    for (;;) {
      const way = this.#choice.way;
      let heard = false;
      try {
        await WAYS[way](
          this.#link(opened, () => {
            if (!heard) this.#events.way(way);
            heard = true;
            this.#well();
          }),
          signal,
        );
      } catch (error) {
        if (signal.aborted || !isPassing(error) || this.#backoff.long) throw error;
        if (error instanceof BodyError) console.warn(error.message);
        if (!heard) this.#choice.failed();
        this.#away();
      }
      await this.#backoff.wait(signal);
    }
  }

  #link(opened: Opened, heard: () => void): Link {
    return {
      path: `/s/${opened.session}/v/${opened.viewer}`,
      limits: opened.limits,
      sender: this.#sender,
      after: () => this.#picture.number,
      body: (bytes) => this.#picture.apply(bytes),
      state: (state) => this.#told(readState(state)),
      stateNumber: () => this.#state?.number ?? 0,
      heard,
      took: (milliseconds) => this.#events.took(milliseconds),
    };
  }

  #told(state: State): void {
    this.#state = state;
    this.#events.state(state);
    if (state.draining && this.#opened?.resume && this.#leaving && !this.#leaving.signal.aborted) void this.#drain(this.#leaving);
  }

  /** This proxy is going: looks for another one, and stays until there is one. */
  async #drain(leaving: AbortController): Promise<void> {
    if (this.#draining || !this.#opened?.resume) return;
    this.#draining = true;
    const backoff = new Backoff();
    try {
      for (;;) {
        try {
          const url = await anotherLink(this.#opened.resume, leaving.signal, () => undefined);
          this.#follow(url);
          leaving.abort(new NoAnswer('there is another proxy'));
          return;
        } catch (error) {
          if (!(error instanceof NoAnswer)) return;
          await backoff.wait(leaving.signal);
        }
      }
    } catch {
      // It has ended in another way.
    } finally {
      this.#draining = false;
    }
  }

  async #resume(signal: AbortSignal): Promise<void> {
    const resume = this.#token;
    if (!resume) throw new Refusal(410, 'session_ended', 'This link can no longer be used. Ask for a new one.', 'link');
    this.#events.phase({ is: 'moving', progress: '' });
    const url = await anotherLink(resume, signal, (progress) => this.#events.phase({ is: 'moving', progress }));
    this.#follow(url);
  }

  /** Goes where a link leads. */
  #follow(link: string): void {
    const url = target(link, location.search);
    if (url.origin === location.origin) {
      this.#step = { is: 'ticket', ticket: url.hash.slice(1) };
    } else {
      this.#step = { is: 'over' };
      this.#events.go(url);
    }
  }

  async #failed(error: unknown): Promise<void> {
    const signal = this.#end.signal;
    // A link was found while the line was still there.
    if (this.#leaving?.signal.aborted && this.#step.is !== 'stay') {
      this.#leaving = undefined;
      return;
    }
    const was = this.#step.is;
    const wait = error instanceof Refusal ? error.wait : undefined;
    // Whoever was let in before waits for the VM; whoever comes hears why not.
    if (error instanceof Refusal && error.code === 'vm_not_running' && !this.#token) {
      this.#over(error);
      return;
    }
    switch (error instanceof BodyError ? 'fault' : cure(error)) {
      case 'viewer':
        this.#step = { is: 'viewer' };
        break;
      case 'resume':
        this.#away();
        if (wait !== undefined) await sleep(wait * 1000, signal);
        // A link may come and be refused, again and again.
        if (was === 'ticket') await this.#backoff.wait(signal);
        this.#step = { is: this.#mayBeIn(was, error) ? 'viewer' : 'resume' };
        break;
      case 'wait':
        this.#away();
        await sleep((wait ?? 5) * 1000, signal);
        break;
      case 'again':
        this.#away();
        await this.#backoff.wait(signal);
        this.#step = this.#next(was);
        break;
      case 'ended':
        this.#over(error as Refusal);
        break;
      case 'fault':
        this.#fault(error);
    }
  }

  /** Whether a link that was used may have been by this very page, whose answer was lost: the cookie is there then. */
  #mayBeIn(was: Step['is'], error: unknown): boolean {
    const used = was === 'ticket' && error instanceof Refusal && error.code === 'ticket_used';
    return used && this.#session !== undefined && !this.#opened && !kept(this.#session);
  }

  /** What is tried after no answer. */
  #next(was: Step['is']): Step {
    const known = this.#token;
    if (was === 'ticket' && !this.#backoff.long) return this.#step;
    if (was === 'resume' || !known) return this.#session && was !== 'ticket' ? { is: 'viewer' } : this.#step;
    return this.#backoff.long || was === 'stay' ? { is: 'resume' } : { is: 'viewer' };
  }

  #over(error: Refusal): void {
    if (this.#session && error.reason !== 'idle') keep(this.#session, undefined);
    this.#step = { is: 'over' };
    this.#sender.stop();
    this.#events.phase({ is: 'over', message: reasonOf(error), again: error.reason === 'idle' && this.#token !== undefined });
  }

  /** What should not be: another viewer may do, once. */
  #fault(error: unknown): void {
    console.error(error);
    this.#faults += 1;
    if (this.#faults === 1 && this.#session && this.#opened) {
      this.#step = { is: 'viewer' };
      return;
    }
    this.#step = { is: 'over' };
    this.#sender.stop();
    const message = error instanceof Error ? error.message : String(error);
    this.#events.phase({ is: 'over', message: `Something is wrong: ${message}. Load the page again.`, again: false });
  }

  #away(): void {
    if (this.#isAway) return;
    this.#isAway = true;
    this.#events.phase({ is: 'away', since: performance.now() });
  }

  /** Something has come. */
  #well(): void {
    this.#choice.works();
    this.#backoff.reset();
    this.#isAway = false;
    this.#events.phase({ is: 'on' });
  }
}

/** Why a session has ended, in words. */
function reasonOf({ reason, message }: Refusal): string {
  switch (reason) {
    case 'revoked':
      return `You can no longer see this console${message ? `: ${message}` : ''}.`;
    case 'expired':
      return 'The session has reached its time limit. Ask for a new link.';
    case 'idle':
      return 'The session has ended as nothing was done in it.';
    case 'closed':
      return 'The session was closed.';
    default:
      return message;
  }
}
