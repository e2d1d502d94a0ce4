/** What a proxy says, as `PROTOCOL.md` describes it. What is read is looked at: fields that are missing are errors here and nowhere else. */

/** Who may do what. */
export type Rights = 'control' | 'view';

/** The answer to a ticket, and to a request for another viewer. */
export interface Opened {
  readonly session: string;
  readonly viewer: string;
  readonly vm: { readonly id: string; readonly name: string };
  readonly rights: Rights;
  readonly resume: Resume | undefined;
  readonly limits: Limits;
  readonly state: State;
}

/** Where another link is to be had, and what for. */
export interface Resume {
  readonly url: string;
  readonly token: string;
}

export interface Limits {
  readonly batch_bytes: number;
  readonly clipboard_bytes: number;
  readonly polls: number;
  readonly wait_secs: number;
  readonly serial_bytes: number;
}

/** The way from the proxy to the VM's display. */
export type Upstream = 'connecting' | 'on' | 'waiting' | 'off';

export interface Person {
  readonly name: string;
  readonly rights: Rights;
  readonly you: boolean;
}

export interface Leds {
  readonly caps: boolean;
  readonly num: boolean;
  readonly scroll: boolean;
}

/** What is to be known beside the picture; always whole. */
export interface State {
  readonly number: number;
  readonly line: Upstream;
  readonly reason: string | null;
  readonly rights: Rights;
  readonly keys: 'scancodes' | 'keysyms';
  readonly pointer: 'absolute' | 'relative';
  readonly leds: Leds | null;
  readonly bells: number;
  readonly clipboard: { readonly number: number; readonly bytes: number };
  readonly serial: 'on' | 'waiting' | 'none';
  readonly viewers: readonly Person[];
  readonly now: number;
  readonly ends: number;
  readonly idle_ends: number;
  readonly draining: boolean;
}

/** The version of the protocol that this page speaks. */
const PROTOCOL = 1;

type Fields = Readonly<Record<string, unknown>>;

/** Reads *opened*. */
export function opened(json: unknown): Opened {
  const of = fields(json);
  if (of['protocol'] !== PROTOCOL) throw new Error(`the proxy speaks version ${String(of['protocol'])} of the protocol`);
  const vm = fields(of['vm']);
  const limits = fields(of['limits']);
  return {
    session: text(of, 'session'),
    viewer: text(of, 'viewer'),
    vm: { id: text(vm, 'id'), name: text(vm, 'name') },
    rights: rights(of['rights']),
    resume: resume(of['resume']),
    limits: {
      batch_bytes: number(limits, 'batch_bytes'),
      clipboard_bytes: number(limits, 'clipboard_bytes'),
      polls: Math.max(1, number(limits, 'polls')),
      wait_secs: number(limits, 'wait_secs'),
      serial_bytes: number(limits, 'serial_bytes'),
    },
    state: state(of['state']),
  };
}

/** Reads where another link is to be had; undefined if nowhere. */
export function resume(json: unknown): Resume | undefined {
  if (json === undefined || json === null) return undefined;
  const of = fields(json);
  return { url: text(of, 'url'), token: text(of, 'token') };
}

/** Reads a state. */
export function state(json: unknown): State {
  const of = fields(json);
  const clipboard = fields(of['clipboard'] ?? { number: 0, bytes: 0 });
  const leds = of['leds'] === null || of['leds'] === undefined ? null : fields(of['leds']);
  const viewers = Array.isArray(of['viewers']) ? of['viewers'].map(fields) : [];
  return {
    number: number(of, 'number'),
    line: one(of['line'], ['connecting', 'on', 'waiting', 'off']),
    reason: typeof of['reason'] === 'string' ? of['reason'] : null,
    rights: rights(of['rights']),
    keys: one(of['keys'], ['scancodes', 'keysyms']),
    pointer: one(of['pointer'], ['absolute', 'relative']),
    leds: leds && { caps: leds['caps'] === true, num: leds['num'] === true, scroll: leds['scroll'] === true },
    bells: number(of, 'bells'),
    clipboard: { number: number(clipboard, 'number'), bytes: number(clipboard, 'bytes') },
    serial: one(of['serial'], ['on', 'waiting', 'none']),
    viewers: viewers.map((viewer) => ({
      name: text(viewer, 'name'),
      rights: rights(viewer['rights']),
      you: viewer['you'] === true,
    })),
    now: number(of, 'now'),
    ends: number(of, 'ends'),
    idle_ends: number(of, 'idle_ends'),
    draining: of['draining'] === true,
  };
}

function rights(value: unknown): Rights {
  return one(value, ['control', 'view']);
}

function fields(json: unknown): Fields {
  if (typeof json !== 'object' || json === null) throw new Error('the proxy said something that is no object');
  return json as Fields;
}

function text(of: Fields, name: string): string {
  const value = of[name];
  if (typeof value !== 'string') throw new Error(`the proxy did not say what "${name}" is`);
  return value;
}

function number(of: Fields, name: string): number {
  const value = of[name];
  if (typeof value !== 'number') throw new Error(`the proxy did not say what "${name}" is`);
  return value;
}

function one<Word extends string>(value: unknown, words: readonly Word[]): Word {
  const found = words.find((word) => word === value);
  if (found === undefined) throw new Error(`the proxy said ${JSON.stringify(value)}, not one of ${words.join(', ')}`);
  return found;
}
