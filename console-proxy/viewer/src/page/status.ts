/** What is to be known of the line, the session and the other viewers. */

import type { WayName } from '../line/choice.ts';
import type { State } from '../line/protocol.ts';
import type { Phase } from '../line/session.ts';
import { by, button, say } from './dom.ts';

export interface StatusOptions {
  /** The user wants another link. */
  again(): void;
  /** The user is still here. */
  here(): void;
}

const WAY_TEXTS: Record<WayName, string> = { socket: 'WebSocket', stream: 'streamed response', poll: 'requests (long poll)' };

/** Milliseconds for which nothing is said about a line that is away: most come back sooner. */
const PATIENCE = 700;

/** Seconds before an end in which the page warns. */
const WARNING = 60;

export class Status {
  #phase: Phase = { is: 'opening' };
  #state: State | undefined;
  #way: WayName | undefined;
  #trip: number | undefined;
  #inputWaiting = 0;
  /** Seconds by which the proxy's clock is ahead of this one. */
  #ahead = 0;
  #shownAway: ReturnType<typeof setTimeout> | undefined;
  readonly #of: StatusOptions;

  constructor(options: StatusOptions) {
    this.#of = options;
    button('notice-button').addEventListener('click', () => this.#of.again());
    button('warning-button').addEventListener('click', () => this.#of.here());
    setInterval(() => this.#tick(), 1000);
    this.#show();
  }

  phase(phase: Phase): void {
    if (phase.is === 'on' && this.#phase.is === 'on') return;
    this.#phase = phase;
    clearTimeout(this.#shownAway);
    if (phase.is === 'away') this.#shownAway = setTimeout(() => this.#show(), PATIENCE);
    else this.#show();
  }

  state(state: State): void {
    this.#state = state;
    this.#ahead = state.now - Date.now() / 1000;
    this.#show();
  }

  way(way: WayName): void {
    this.#way = way;
    this.#show();
  }

  /** A request took so long: what is shown follows the shorter ones, as the longer ones have waited for something. */
  took(milliseconds: number): void {
    const before = this.#trip ?? milliseconds;
    this.#trip = milliseconds < before ? milliseconds * 0.5 + before * 0.5 : before * 0.9 + milliseconds * 0.1;
  }

  /** So many events are not known to be applied. */
  waiting(events: number): void {
    this.#inputWaiting = events;
  }

  #tick(): void {
    this.#warn();
    this.#chip();
  }

  #show(): void {
    document.body.dataset['phase'] = this.#phase.is === 'on' && this.#state?.line !== 'on' ? 'waiting' : this.#phase.is;
    this.#notice();
    this.#chip();
    this.#details();
    this.#warn();
  }

  /** What is wrong, in words; undefined if nothing is. */
  #trouble(): string | undefined {
    const phase = this.#phase;
    switch (phase.is) {
      case 'opening':
        return 'Connecting…';
      case 'away':
        return 'The line is lost. Connecting again…';
      case 'moving':
        return phase.progress || 'Looking for another console proxy…';
      case 'over':
        return phase.message;
      case 'on':
        break;
    }
    const reason = this.#state?.reason ? ` (${this.#state.reason})` : '';
    switch (this.#state?.line) {
      case 'connecting':
        return 'Connecting to the display…';
      case 'waiting':
        return `The display is away for a moment${reason}. Connecting again…`;
      case 'off':
        return `The machine has no display now${reason}. It comes back when the machine starts.`;
      default:
        return undefined;
    }
  }

  #notice(): void {
    const trouble = this.#trouble();
    const phase = this.#phase;
    by('notice', HTMLElement).hidden = trouble === undefined;
    say(by('notice-text', HTMLElement), trouble ?? '');
    const again = button('notice-button');
    again.hidden = !(phase.is === 'over' && phase.again);
    say(again, 'Connect again');
    document.body.classList.toggle('dim', trouble !== undefined);
  }

  #chip(): void {
    const texts: Record<Phase['is'], string> = { opening: 'Connecting', away: 'Reconnecting', moving: 'Moving', over: 'Ended', on: '' };
    const lines: Record<State['line'], string> = { connecting: 'Connecting', waiting: 'Waiting', off: 'No display', on: '' };
    const trip = this.#trip === undefined ? 'Connected' : `${Math.round(this.#trip)} ms`;
    const fine = this.#inputWaiting > 32 ? 'Input waits' : trip;
    say(by('status-text', HTMLElement), texts[this.#phase.is] || (this.#state ? lines[this.#state.line] : '') || this.#people(fine));
    say(by('about-trip', HTMLElement), this.#trip === undefined ? 'not known' : `${Math.round(this.#trip)} ms`);
  }

  #people(text: string): string {
    const others = this.#state?.viewers.filter((viewer) => !viewer.you).length ?? 0;
    const people = others > 0 ? `${text} · ${others + 1} viewers` : text;
    return this.#state?.rights === 'view' ? `${people} · look only` : people;
  }

  #details(): void {
    const state = this.#state;
    say(by('about-way', HTMLElement), this.#way ? WAY_TEXTS[this.#way] : 'not known');
    if (!state) return;
    const lines: Record<State['line'], string> = { connecting: 'connecting', on: 'connected', waiting: 'waiting', off: 'none' };
    say(by('about-line', HTMLElement), lines[state.line]);
    say(by('about-rights', HTMLElement), state.rights === 'control' ? 'look and control' : 'look only');
    say(by('about-ends', HTMLElement), new Date((state.ends - this.#ahead) * 1000).toLocaleString());
    const people = state.viewers.map((viewer) => {
      const item = document.createElement('li');
      const view = viewer.rights === 'view' ? ', looks only' : '';
      item.textContent = `${viewer.name}${viewer.you ? ' (this page)' : ''}${view}`;
      return item;
    });
    by('about-viewers', HTMLElement).replaceChildren(...people);
  }

  #warn(): void {
    const state = this.#state;
    const now = Date.now() / 1000 + this.#ahead;
    const idle = state ? state.idle_ends - now : Infinity;
    const end = state ? state.ends - now : Infinity;
    const shown = this.#phase.is === 'on' && Math.min(idle, end) < WARNING;
    by('warning', HTMLElement).hidden = !shown;
    button('warning-button').hidden = end <= idle;
    if (!shown) return;
    // Whole tens: it is read out whenever it is another.
    const left = Math.max(0, Math.ceil(Math.min(idle, end) / 10) * 10);
    const text = end <= idle ? `The session ends in ${left} seconds.` : `Nothing was done for long: the session ends in ${left} seconds.`;
    say(by('warning-text', HTMLElement), text);
  }
}
