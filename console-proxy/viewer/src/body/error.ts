/** Why a body cannot be applied. */

export type Fault =
  | 'version'
  | 'base'
  | 'no-desktop'
  | 'ended'
  | 'too-long'
  | 'number'
  | 'too-large'
  | 'copy'
  | 'tile'
  | 'slot'
  | 'kind'
  | 'image'
  | 'image-size'
  | 'cursor';

/** A body that is not as `FORMAT.md` describes it. */
export class BodyError extends Error {
  readonly fault: Fault;

  constructor(fault: Fault, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'BodyError';
    this.fault = fault;
  }
}
