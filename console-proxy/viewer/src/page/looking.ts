/**
 * Looking only: nothing goes to the VM. A user may choose it; on small devices that are touched it is the beginning, as fingers that
 * move a large picture would press buttons in it. Who has no right to control looks only whatever is chosen; that is the proxy's
 * to see to.
 */

import { by, button } from './dom.ts';
import { set, setting } from './settings.ts';

const CHOICES = ['yes', 'no', 'as-the-device'] as const;

export class Looking {
  readonly #changed: () => void;
  #small = matchMedia('(pointer: coarse) and ((max-width: 620px) or (max-height: 480px))').matches;
  #chosen = setting('look-only', CHOICES, 'as-the-device');

  constructor(changed: () => void) {
    this.#changed = changed;
    document.body.classList.toggle('small-device', this.#small);
    button('look').addEventListener('click', () => this.#choose(!this.only));
    by('look-only', HTMLInputElement).addEventListener('change', ({ target }) => {
      this.#choose((target as HTMLInputElement).checked);
    });
    this.#show();
  }

  get only(): boolean {
    return this.#chosen === 'yes' || (this.#chosen === 'as-the-device' && this.#small);
  }

  #choose(only: boolean): void {
    this.#chosen = only ? 'yes' : 'no';
    set('look-only', this.#chosen);
    this.#show();
    this.#changed();
  }

  #show(): void {
    document.body.classList.toggle('looking', this.only);
    by('look-only', HTMLInputElement).checked = this.only;
    button('look').setAttribute('aria-pressed', String(this.only));
  }
}
