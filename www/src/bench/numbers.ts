/** Measured numbers as text. */

/** A median with the least and the most. */
export interface Range {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spread({ median, min, max }: Range, factor: number): string {
  return `${number(median * factor)} (${number(min * factor)} to ${number(max * factor)})`;
}

/** Three digits. */
export function number(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
