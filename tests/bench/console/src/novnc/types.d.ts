/** As much of noVNC's API (its `docs/API.md`) as is used here. */
export default class RFB extends EventTarget {
  constructor(target: HTMLElement, url: string, options?: { shared?: boolean });
  focus(): void;
}
