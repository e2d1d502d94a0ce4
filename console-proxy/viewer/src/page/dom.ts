/** Elements of `index.html` by their ids. */

/** An element that is there, of the kind that it should be. */
export function by<Kind extends HTMLElement>(id: string, kind: new () => Kind): Kind {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${id}`);
  return found;
}

export const button = (id: string): HTMLButtonElement => by(id, HTMLButtonElement);

/** Shows a text, or nothing. */
export function say(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** A new button that does something. */
export function newButton(text: string, does: () => void, label = text): HTMLButtonElement {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = text;
  if (label !== text) made.setAttribute('aria-label', label);
  made.addEventListener('click', does);
  return made;
}

/** Menus come up below the button that opens them, within the window. */
export function placeMenus(): void {
  for (const menu of document.querySelectorAll<HTMLElement>('.menu')) {
    menu.addEventListener('toggle', (event) => {
      const opener = document.querySelector(`[popovertarget="${menu.id}"]`);
      if ((event as ToggleEvent).newState !== 'open' || !opener) return;
      const at = opener.getBoundingClientRect();
      const left = Math.max(4, Math.min(at.left, innerWidth - menu.offsetWidth - 4));
      menu.style.left = `${left}px`;
      menu.style.top = `${at.bottom + 2}px`;
    });
  }
}

export function closeMenus(): void {
  for (const menu of document.querySelectorAll<HTMLElement>('.menu:popover-open')) menu.hidePopover();
}
