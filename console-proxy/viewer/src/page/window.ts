/** Full screen, tabs, and the title: what is around the picture. */

import { by, button } from './dom.ts';

/** What browsers have of the Keyboard Lock API. */
interface KeyboardLock {
  lock?(): Promise<void>;
  unlock?(): void;
}

/** Full screen, in which the browser leaves its own shortcuts to the page where it can. */
export function fullScreen(focus: () => void): void {
  const toggle = button('full');
  const { keyboard } = navigator as { keyboard?: KeyboardLock };
  if (!document.fullscreenEnabled) toggle.hidden = true;
  toggle.addEventListener('click', () => {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void document.documentElement.requestFullscreen({ navigationUI: 'hide' }).catch(() => undefined);
  });
  document.addEventListener('fullscreenchange', () => {
    const full = document.fullscreenElement !== null;
    toggle.textContent = full ? 'Leave full screen' : 'Full screen';
    if (full) keyboard?.lock?.().catch(() => undefined);
    else keyboard?.unlock?.();
    focus();
  });
  // Without a mouse the bar comes when its edge is touched.
  const header = document.querySelector('header');
  header?.addEventListener('pointerdown', ({ pointerType }) => header.classList.toggle('shown', pointerType === 'touch'));
}

/** The display and the serial console as tabs; `serial` is called when that is seen first. */
export function tabs(serial: () => void, focus: () => void): (available: boolean) => void {
  const all = [
    { tab: button('tab-display'), panel: by('display', HTMLElement) },
    { tab: button('tab-serial'), panel: by('serial', HTMLElement) },
  ];
  const choose = (chosen: HTMLButtonElement): void => {
    for (const { tab, panel } of all) {
      const is = tab === chosen;
      tab.setAttribute('aria-selected', String(is));
      tab.tabIndex = is ? 0 : -1;
      panel.hidden = !is;
    }
    document.body.classList.toggle('serial', chosen.id === 'tab-serial');
    if (chosen.id === 'tab-serial') serial();
    else focus();
  };
  all.forEach(({ tab }, at) => {
    tab.addEventListener('click', () => choose(tab));
    tab.addEventListener('keydown', ({ key }) => {
      if (key !== 'ArrowLeft' && key !== 'ArrowRight') return;
      const other = all[1 - at]?.tab;
      other?.focus();
    });
  });
  return (available) => {
    by('tabs', HTMLElement).hidden = !available;
    if (!available && button('tab-serial').ariaSelected === 'true') choose(button('tab-display'));
  };
}
