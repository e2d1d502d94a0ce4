/** The terminal of the serial console. It is loaded when it is first looked at. */

import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';

export interface SerialTerminal {
  write(bytes: Uint8Array): Promise<void>;
  /** Clears it: what comes now does not follow what came before. */
  reset(): void;
  focus(): void;
  readOnly(only: boolean): void;
}

/** Lines that are kept above those that are seen. */
const SCROLLBACK = 5000;

/** Makes a terminal; `typed` is told of what the user types. */
export function terminal(element: HTMLElement, typed: (text: string | Uint8Array) => void): SerialTerminal {
  allowStyles();
  const made = new Terminal({
    scrollback: SCROLLBACK,
    fontSize: 14,
    fontFamily: 'ui-monospace, "DejaVu Sans Mono", monospace',
    screenReaderMode: false,
    cursorBlink: !matchMedia('(prefers-reduced-motion: reduce)').matches,
  });
  const fit = new FitAddon();
  made.loadAddon(fit);
  made.open(element);
  new ResizeObserver(() => {
    if (element.clientHeight > 0) fit.fit();
  }).observe(element);
  made.onData(typed);
  made.onBinary((text) => typed(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
  return {
    write: (bytes) => new Promise((resolve) => made.write(bytes, resolve)),
    reset: () => made.reset(),
    focus: () => made.focus(),
    readOnly: (only) => (made.options.disableStdin = only),
  };
}

/** The terminal makes style elements by itself. The page's policy allows those that have its nonce. */
function allowStyles(): void {
  const nonce = document.querySelector<HTMLMetaElement>('meta[name="podzol-nonce"]')?.content ?? '';
  const make = document.createElement.bind(document);
  document.createElement = ((name: string, options?: ElementCreationOptions): HTMLElement => {
    const made = make(name, options);
    if (made instanceof HTMLStyleElement) made.nonce = nonce;
    return made;
  }) as typeof document.createElement;
}
