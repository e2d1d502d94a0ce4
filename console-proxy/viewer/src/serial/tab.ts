/** The tab with the serial console. */

import type { WayName } from '../line/choice.ts';
import type { Opened, Rights, State } from '../line/protocol.ts';
import { by, say } from '../page/dom.ts';
import { SerialLine } from './line.ts';
import type { SerialTerminal } from './terminal.ts';

export class SerialTab {
  readonly #way: () => WayName;
  readonly #line = new SerialLine();
  #terminal: Promise<SerialTerminal> | undefined;
  #opened: Opened | undefined;
  #rights: Rights = 'view';
  #running: AbortController | undefined;

  /** `way` is that of the display. */
  constructor(way: () => WayName) {
    this.#way = way;
  }

  /** It is seen. */
  show(): void {
    this.#terminal ??= this.#make();
    void this.#terminal.then((terminal) => terminal.focus());
    if (!this.#running) this.#run();
  }

  /** There is another viewer. */
  opened(opened: Opened): void {
    this.#opened = opened;
    this.#running?.abort(new Error('there is another viewer'));
    this.#line.begin();
    // What the proxy still has comes once more.
    void this.#terminal?.then((terminal) => terminal.reset());
    if (this.#running) this.#run();
  }

  /** The display's line has begun anew, perhaps in another way. The one before may have been lost without a word, and this one with it. */
  way(): void {
    if (!this.#running) return;
    this.#running.abort(new Error('the line begins anew'));
    this.#run();
  }

  state(serial: State['serial'], rights: Rights): void {
    this.#rights = rights;
    void this.#terminal?.then((terminal) => terminal.readOnly(rights === 'view'));
    const notice = by('serial-notice', HTMLElement);
    notice.hidden = serial !== 'waiting';
    say(notice, 'The serial console is away for a moment. Connecting again…');
  }

  stop(): void {
    this.#running?.abort(new Error('the session is over'));
    this.#running = undefined;
  }

  async #make(): Promise<SerialTerminal> {
    const { terminal } = await import('./terminal.ts');
    const made = terminal(by('terminal', HTMLElement), (text) => {
      if (this.#rights !== 'control') return;
      this.#line.push(typeof text === 'string' ? new TextEncoder().encode(text) : text);
    });
    made.readOnly(this.#rights === 'view');
    return made;
  }

  #run(): void {
    const opened = this.#opened;
    const terminal = this.#terminal;
    if (!opened || !terminal) return;
    const running = (this.#running = new AbortController());
    void this.#line.run(
      {
        path: `/s/${opened.session}/v/${opened.viewer}/serial`,
        way: this.#way(),
        wait_secs: opened.limits.wait_secs,
        serial_bytes: opened.limits.serial_bytes,
        write: async (bytes) => (await terminal).write(bytes),
        gap: () => void terminal.then((one) => one.reset()),
      },
      running.signal,
    );
  }
}
