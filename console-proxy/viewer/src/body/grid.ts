/** Tiles of a desktop, and lists of them, each of which a body may paint once. */

import { BodyError } from './error.ts';
import type { Reader } from './reader.ts';

/** Columns and rows of a tile, in pixels. */
export const TILE = 16;

export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface Place {
  readonly x: number;
  readonly y: number;
}

/** Numbers tiles of a desktop, row by row. */
export class Grid {
  readonly size: Size;
  readonly columns: number;
  readonly tiles: number;

  constructor(size: Size) {
    this.size = size;
    this.columns = Math.ceil(size.width / TILE);
    this.tiles = this.columns * Math.ceil(size.height / TILE);
  }

  /** The pixel at the left and top of a tile. */
  place(tile: number): Place {
    return { x: (tile % this.columns) * TILE, y: Math.floor(tile / this.columns) * TILE };
  }
}

/** The tiles that a body has painted. */
export class Painted {
  readonly #grid: Grid;
  readonly #marks: Uint8Array;

  constructor(grid: Grid) {
    this.#grid = grid;
    this.#marks = new Uint8Array(grid.tiles);
  }

  /** Reads a list of tiles in their order, which are painted now. */
  list(reader: Reader): number[] {
    const tiles: number[] = [];
    let after = 0;
    for (let runs = reader.count(this.#grid.tiles); runs > 0; runs -= 1) {
      const gap = reader.number();
      const start = after + Math.floor(gap / 2);
      after = start + (gap % 2 === 1 ? reader.number() + 2 : 1);
      if (after > this.#grid.tiles) throw new BodyError('tile', `tile ${after - 1} is not on the desktop`);
      for (let tile = start; tile < after; tile += 1) {
        if (this.#marks[tile] !== 0) throw new BodyError('tile', `tile ${tile} is there twice`);
        this.#marks[tile] = 1;
        tiles.push(tile);
      }
    }
    return tiles;
  }
}
