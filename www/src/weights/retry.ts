/** Trying again after what may pass, at growing distances. */
import { KinetoscopeError, cancelled } from "../errors.js";

/** How often and how patiently a request is made again. */
export interface RetryPolicy {
  /** Tries after the first one. They count anew whenever bytes have arrived. */
  readonly retries: number;
  /** Wait before the second try, doubled before each further one. */
  readonly firstWaitMs: number;
  /** The longest wait, a host's `Retry-After` included: one that asks for more has failed. */
  readonly longestWaitMs: number;
  /** A connection without a byte for so long counts as broken. */
  readonly stallMs: number;
}

export const RETRY: RetryPolicy = {
  retries: 4,
  firstWaitMs: 250,
  longestWaitMs: 30_000,
  stallMs: 30_000,
};

/** A failure that may pass, around the error it becomes when it does not. */
export class Passing extends Error {
  constructor(
    readonly error: KinetoscopeError,
    /** What the host asked to wait. */
    readonly waitMs?: number,
  ) {
    super(error.message);
  }
}

/**
 * Makes an attempt until it succeeds, or throws something else than {@link Passing}, or has failed too often.
 * `progress` is a number that grows with what an attempt achieved.
 */
export async function retrying<T>(
  policy: RetryPolicy,
  signal: AbortSignal,
  attempt: () => Promise<T>,
  progress: () => number = () => 0,
): Promise<T> {
  let [tried, reached] = [0, progress()];
  for (;;) {
    try {
      return await attempt();
    } catch (thrown) {
      if (signal.aborted) {
        throw cancelled();
      }
      if (!(thrown instanceof Passing)) {
        throw thrown;
      }
      if (progress() > reached) {
        [tried, reached] = [0, progress()];
      }
      const asked = thrown.waitMs ?? 0;
      if (tried >= policy.retries || asked > policy.longestWaitMs) {
        throw thrown.error;
      }
      const growing = Math.min(policy.firstWaitMs * 2 ** tried, policy.longestWaitMs);
      tried += 1;
      // Jitter: pages that failed together should not come back together.
      await wait(Math.max(asked, growing * (0.5 + Math.random() / 2)), signal);
    }
  }
}

/** The wait of a `Retry-After` header, which has seconds or a date; `undefined` where it has neither. */
export function retryAfterMs(header: string | null, now = Date.now()): number | undefined {
  if (header === null) {
    return undefined;
  }
  const ms = /^\s*\d+\s*$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isFinite(ms) ? Math.max(ms, 0) : undefined;
}

function wait(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      signal.removeEventListener("abort", abort);
      resolve();
    }
    function abort(): void {
      clearTimeout(timer);
      reject(cancelled());
    }
    signal.addEventListener("abort", abort, { once: true });
  });
}
