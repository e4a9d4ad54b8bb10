import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { KinetoscopeError } from "../errors.js";
import { HttpSource } from "./http.js";

/** 300 kB, no byte of which is at the right place when it is off by any amount below 251. */
const BYTES = Uint8Array.from({ length: 300_000 }, (_, index) => index % 251);

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

let server: Server;
let handler: Handler;
let requests: { method: string; url: string; range: string | undefined }[];
let aborter: AbortController;

beforeEach(async () => {
  requests = [];
  aborter = new AbortController();
  server = createServer((request, response) => {
    const { method = "", url = "" } = request;
    requests.push({ method, url, range: request.headers.range });
    handler(request, response);
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((closed) => server.close(closed));
});

function source(query = ""): HttpSource {
  const { port } = server.address() as AddressInfo;
  return new HttpSource(`http://127.0.0.1:${port}/model/${query}`, aborter.signal);
}

/** A host as it should be. */
const ranged: Handler = (request, response) => {
  const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  if (!match || request.method === "HEAD") {
    response.writeHead(200, { "content-length": BYTES.length });
    response.end(request.method === "HEAD" ? undefined : BYTES);
    return;
  }
  const start = Number(match[1]);
  const end = Math.min(match[2] ? Number(match[2]) + 1 : Infinity, BYTES.length);
  if (start >= BYTES.length) {
    response.writeHead(416, { "content-range": `bytes */${BYTES.length}` });
    response.end();
    return;
  }
  response.writeHead(206, {
    "content-length": end - start,
    "content-range": `bytes ${start}-${end - 1}/${BYTES.length}`,
  });
  response.end(BYTES.subarray(start, end));
};

/** A host that knows no ranges, and sends without saying how much. */
const whole: Handler = (request, response) => {
  response.writeHead(200);
  response.end(request.method === "HEAD" ? undefined : BYTES);
};

async function errorOf(promise: Promise<unknown>): Promise<KinetoscopeError> {
  const thrown = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(KinetoscopeError);
  return thrown as KinetoscopeError;
}

describe("a host with ranges", () => {
  beforeEach(() => {
    handler = ranged;
  });

  it("gives sizes and exact spans, also several at once and backwards", async () => {
    const files = source();
    expect(await files.size("vae/weights")).toBe(BYTES.length);
    const spans: [number, number][] = [
      [0, 8],
      [8, 100_000],
      [299_999, 300_000],
      [5, 6],
    ];
    const read = await Promise.all(spans.map(([start, end]) => files.read("vae/weights", start, end)));
    for (const [k, [start, end]] of spans.entries()) {
      expect(read[k]).toEqual(BYTES.slice(start, end));
    }
    expect(requests.slice(1).map(({ range }) => range)).toEqual(
      spans.map(([start, end]) => `bytes=${start}-${end - 1}`),
    );
  });

  it("asks for nothing to read nothing", async () => {
    expect(await source().read("vae/weights", 7, 7)).toEqual(new Uint8Array());
    expect(requests).toEqual([]);
  });

  it("calls a file that ends early truncated", async () => {
    const error = await errorOf(source().read("vae/weights", 299_990, 300_010));
    expect(error.code).toBe("file_truncated");
    expect(error.details).toEqual({ path: "vae/weights", expected: 300_010, found: 300_000 });
    const beyond = await errorOf(source().read("vae/weights", 300_005, 300_010));
    expect(beyond.details).toEqual({ path: "vae/weights", expected: 300_010, found: 300_000 });
  });

  it("takes a broken connection up where it broke", async () => {
    handler = (request, response) => {
      if (requests.length > 1) {
        ranged(request, response);
        return;
      }
      response.writeHead(206, { "content-length": 1000, "content-range": `bytes 0-999/${BYTES.length}` });
      response.write(BYTES.subarray(0, 400));
      setTimeout(() => response.destroy(), 50);
    };
    expect(await source().read("vae/weights", 0, 1000)).toEqual(BYTES.slice(0, 1000));
    expect(requests.map(({ range }) => range)).toEqual(["bytes=0-999", "bytes=400-999"]);
  });

  it("tries again where the host is busy, and says so when it stays so", async () => {
    handler = (request, response) => {
      if (requests.length < 3) {
        response.writeHead(503);
        response.end();
      } else {
        ranged(request, response);
      }
    };
    expect(await source().read("vae/weights", 10, 20)).toEqual(BYTES.slice(10, 20));
    expect(requests.length).toBe(3);

    handler = (_, response) => {
      response.writeHead(429);
      response.end();
    };
    const error = await errorOf(source().read("vae/weights", 10, 20));
    expect(error.code).toBe("read_failed");
    expect(error.message).toContain("429");
  });

  it("keeps the folder's query, and stays in the folder", async () => {
    await source("?token=abc").read("a b/c#d", 0, 1);
    expect(requests[0]?.url).toBe("/model/a%20b/c%23d?token=abc");
    expect((await errorOf(source().read("../secret", 0, 1))).code).toBe("file_missing");
  });
});

describe("a host that ignores ranges", () => {
  beforeEach(() => {
    handler = whole;
  });

  it("counts the size", async () => {
    expect(await source().size("vae/weights")).toBe(BYTES.length);
  });

  it("is cut from one response as it streams by, skipped spans included", async () => {
    const files = source();
    const spans: [number, number][] = [
      [0, 8],
      [8, 70_000],
      [200_000, 200_001],
      [299_000, 300_000],
    ];
    const read = await Promise.all(spans.map(([start, end]) => files.read("vae/weights", start, end)));
    for (const [k, [start, end]] of spans.entries()) {
      expect(read[k]).toEqual(BYTES.slice(start, end));
    }
    expect(requests.length).toBe(1);
  });

  it("starts over for a span that went by", async () => {
    const files = source();
    await files.read("vae/weights", 1000, 2000);
    expect(await files.read("vae/weights", 500, 600)).toEqual(BYTES.slice(500, 600));
    expect(requests.length).toBe(2);
  });

  it("calls a file that ends early truncated, and goes on with the next", async () => {
    const files = source();
    const error = await errorOf(files.read("vae/weights", 299_000, 300_001));
    expect(error.code).toBe("file_truncated");
    expect(error.details).toEqual({ path: "vae/weights", expected: 300_001, found: 300_000 });
    expect(await files.read("vae/weights", 0, 4)).toEqual(BYTES.slice(0, 4));
  });

  it("starts over where the connection breaks", async () => {
    handler = (request, response) => {
      if (requests.length > 1) {
        whole(request, response);
        return;
      }
      response.writeHead(200, { "content-length": BYTES.length });
      response.write(BYTES.subarray(0, 1500));
      setTimeout(() => response.destroy(), 50);
    };
    expect(await source().read("vae/weights", 1000, 2000)).toEqual(BYTES.slice(1000, 2000));
  });

  it("lets go of the response and reads on afterwards", async () => {
    const files = source();
    await files.read("vae/weights", 0, 10);
    files.release();
    expect(await files.read("vae/weights", 10, 20)).toEqual(BYTES.slice(10, 20));
    expect(requests.length).toBe(2);
  });
});

describe("a file that is not there", () => {
  it.each([404, 410])("is missing by status %i", async (status) => {
    handler = (_, response) => {
      response.writeHead(status);
      response.end("no");
    };
    const files = source();
    expect((await errorOf(files.size("vae/config.json"))).code).toBe("file_missing");
    const error = await errorOf(files.read("vae/config.json", 0, 5));
    expect(error.code).toBe("file_missing");
    expect(error.details).toEqual({ path: "vae/config.json" });
  });

  it("is missing where the host answers with its page", async () => {
    handler = (_, response) => {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
      response.end("<!doctype html>");
    };
    expect((await errorOf(source().size("vae/config.json"))).code).toBe("file_missing");
  });
});

describe("an abort", () => {
  it("ends a read in the middle, and every later one", async () => {
    handler = (_, response) => {
      response.writeHead(206, { "content-length": 1000, "content-range": `bytes 0-999/${BYTES.length}` });
      response.write(BYTES.subarray(0, 400));
      setTimeout(() => aborter.abort(), 20);
    };
    const files = source();
    expect((await errorOf(files.read("vae/weights", 0, 1000))).code).toBe("cancelled");
    expect((await errorOf(files.read("vae/weights", 0, 1000))).code).toBe("cancelled");
    expect(requests.length).toBe(1);
  });

  it("ends the wait before another try", async () => {
    handler = (_, response) => {
      response.writeHead(503);
      response.end();
      setTimeout(() => aborter.abort(), 20);
    };
    expect((await errorOf(source().read("vae/weights", 0, 10))).code).toBe("cancelled");
    expect(requests.length).toBe(1);
  });
});
