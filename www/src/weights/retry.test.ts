import { expect, it } from "vitest";
import { retryAfterMs } from "./retry.js";
import { Traffic } from "./traffic.js";

it("reads how long a host asks to wait", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  expect(retryAfterMs("120", now)).toBe(120_000);
  expect(retryAfterMs("Thu, 01 Jan 2026 00:00:30 GMT", now)).toBe(30_000);
  expect(retryAfterMs("Wed, 31 Dec 2025 00:00:00 GMT", now)).toBe(0);
  expect(retryAfterMs("soon", now)).toBeUndefined();
  expect(retryAfterMs(null, now)).toBeUndefined();
});

it("tells the speed of the last seconds, and where bytes came from", () => {
  let now = 1000;
  const traffic = new Traffic(() => now);
  expect(traffic.pace).toEqual({ bytesPerSecond: 0, from: "network" });
  for (let k = 0; k < 100; k++) {
    now += 100;
    traffic.add(1000, "network");
  }
  expect(traffic.pace.bytesPerSecond).toBeGreaterThan(9_900);
  expect(traffic.pace.bytesPerSecond).toBeLessThan(10_500);
  traffic.add(5, "cache");
  now += 10_000;
  expect(traffic.pace).toEqual({ bytesPerSecond: 0, from: "cache" });
});
