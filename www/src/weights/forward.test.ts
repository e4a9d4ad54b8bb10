import { describe, expect, it } from "vitest";
import { ForwardStream } from "./forward.js";
import { BYTES, expectBytes } from "./testing.js";

/** A response in pieces of odd lengths, whose stream is of bytes or, as in some browsers, of any values. */
function response(type: "bytes" | undefined): Response {
  let at = 0;
  const pull = (controller: ReadableStreamDefaultController<Uint8Array> | ReadableByteStreamController) => {
    const end = Math.min(at + 1 + (at % 70_001), BYTES.length);
    controller.enqueue(BYTES.slice(at, end));
    at = end;
    if (at === BYTES.length) {
      controller.close();
    }
  };
  return new Response(type ? new ReadableStream({ type, pull }) : new ReadableStream({ pull }));
}

describe.each(["bytes", undefined] as const)("a response of %s", (type) => {
  it("gives its bytes in order, in pieces that last until the next", async () => {
    const stream = new ForwardStream(response(type), 1000);
    await stream.skipTo(1234);
    const found = new Uint8Array(BYTES.length);
    let filled = 0;
    for (let piece = await stream.next(999); piece; piece = await stream.next(99_999)) {
      found.set(piece, filled);
      filled += piece.length;
    }
    expect(stream.position).toBe(BYTES.length);
    expectBytes(found.subarray(0, filled), BYTES.subarray(1234));
    expect(await stream.next(1)).toBeUndefined();
  });

  it("gives nothing more once it is cancelled, and leaves another's bytes alone", async () => {
    const [first, second] = [
      new ForwardStream(response(type), 1000),
      new ForwardStream(response(type), 1000),
    ];
    await first.next(10);
    first.cancel();
    first.cancel();
    expect(await first.next(10)).toBeUndefined();
    const third = new ForwardStream(response(type), 1000);
    for (const stream of [second, third]) {
      await stream.skipTo(200_000);
    }
    const pieces = await Promise.all([second, third].map((stream) => stream.next(1000)));
    for (const piece of pieces) {
      expectBytes(piece, BYTES.subarray(200_000, 200_000 + (piece?.length ?? 0)));
      expect(piece?.length).toBeGreaterThan(0);
    }
  });
});
