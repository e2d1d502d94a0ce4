/** The table that comes of it. */

import { shown } from './numbers.ts';

export interface Row {
  readonly what: string;
  readonly podzol: number;
  /** Not there if only Podzol is measured. */
  readonly novnc?: number;
  /** What is to be reached, in words, and whether it is; no goal if it is told for knowledge. */
  readonly goal?: string;
  readonly holds?: boolean;
}

/** The table as Markdown. */
export function table(rows: readonly Row[]): string {
  const head = ['', 'Podzol', 'noVNC', 'Podzol ÷ noVNC', 'goal', ''];
  const body = rows.map(({ what, podzol, novnc, goal = '', holds }) => [
    what, shown(podzol), novnc === undefined ? '' : shown(novnc), novnc === undefined ? '' : shown(podzol / novnc), goal,
    holds === undefined ? '' : holds ? 'holds' : '**misses**',
  ]);
  const lines = [head, head.map(() => '---'), ...body];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
