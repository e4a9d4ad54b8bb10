/** Two sides of the same work, timed in turns. */

/** Something that one side can run again and again. */
export interface Side {
  /** Whatever has to be done before so many runs and is not to be timed. */
  ready(times: number): Promise<void>;
  /** Runs it so many times, and waits until the device is done. */
  run(times: number): Promise<void>;
  close(): void | Promise<void>;
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface Comparison {
  /** Runs in a sample, of either side. */
  readonly times: number;
  /** Seconds of a run. */
  readonly ours: Spread;
  readonly theirs: Spread;
  /** Theirs divided by ours, of samples that follow each other. */
  readonly ratio: Spread;
  /** Seconds of a run by ours and theirs, in the order in which they were taken. */
  readonly samples: readonly (readonly [number, number])[];
}

export interface Budget {
  /** Samples of each side, if there is time. */
  readonly samples: number;
  /** Seconds for all of them. */
  readonly seconds: number;
}

const FEWEST_SAMPLES = 3;
const WARM_UPS = 2;
/** Seconds that the quicker side's sample should take, and the slower one's should not exceed. */
const [SHORTEST, LONGEST] = [0.1, 3];

/** Warms both up, then takes samples in turns: ours, theirs, ours, theirs. */
export async function compare(ours: Side, theirs: Side, budget: Budget): Promise<Comparison> {
  const sides = [ours, theirs] as const;
  const once = [Infinity, Infinity];
  // What is slow needs no second time: it has run once already, when its result was checked.
  for (let time = 0; time < WARM_UPS && (time === 0 || Math.max(...once) < LONGEST); time++) {
    for (const [index, side] of sides.entries()) {
      once[index] = Math.min(once[index] ?? Infinity, await seconds(side, 1));
    }
  }
  const [quicker, slower] = [Math.min(...once), Math.max(...once)];
  const times = Math.max(1, Math.min(Math.ceil(SHORTEST / quicker), Math.floor(LONGEST / slower)));
  const samples: [number, number][] = [];
  const began = performance.now();
  while (
    samples.length < FEWEST_SAMPLES ||
    (samples.length < budget.samples && performance.now() - began < budget.seconds * 1000)
  ) {
    samples.push([(await seconds(ours, times)) / times, (await seconds(theirs, times)) / times]);
  }
  return {
    times,
    ours: spread(samples.map(([a]) => a)),
    theirs: spread(samples.map(([, b]) => b)),
    ratio: spread(samples.map(([a, b]) => b / a)),
    samples,
  };
}

async function seconds(side: Side, times: number): Promise<number> {
  await side.ready(times);
  const began = performance.now();
  await side.run(times);
  return (performance.now() - began) / 1000;
}

export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (index: number): number => sorted[index] ?? NaN;
  const middle = (sorted.length - 1) / 2;
  return {
    median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    min: at(0),
    max: at(sorted.length - 1),
  };
}

/** The largest difference, relative to the root of the mean square of `expected`; NaN and another length are infinitely far off. */
export function difference(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) {
    return Infinity;
  }
  let [largest, squares] = [0, 0];
  for (let index = 0; index < expected.length; index++) {
    const [a, b] = [found[index] ?? NaN, expected[index] ?? NaN];
    const apart = Math.abs(a - b);
    largest = apart >= 0 ? Math.max(largest, apart) : Infinity;
    squares += b * b;
  }
  return largest / Math.sqrt(squares / expected.length);
}
