/** A small static web server for the scripts and the browser tests: ranges, content types, 404s, nothing kept. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

/** @typedef {(request: import("node:http").IncomingMessage, response: import("node:http").ServerResponse) => void} Handler */

/** @type {Record<string, string>} */
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

/**
 * Serves folders under prefixes, such as `{ "/": "dist", "/golden/": "../tests/golden" }`; the longest prefix wins.
 * A handler put into `handlers` under a whole path answers that path instead.
 * @param {Record<string, string>} folders
 * @param {Record<string, string>} always Headers of every answer.
 */
export async function serve(folders, always = {}) {
  const prefixes = Object.keys(folders).sort((a, b) => b.length - a.length);
  /** @type {Map<string, Handler>} */
  const handlers = new Map();
  const server = createServer((request, response) => {
    Object.entries(always).forEach(([name, value]) => response.setHeader(name, value));
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname);
    const handler = handlers.get(path);
    if (handler) {
      handler(request, response);
      return;
    }
    const prefix = prefixes.find((start) => path.startsWith(start));
    const inFolder = normalize(`/${path.slice(prefix?.length ?? 0)}`);
    const file = join(
      folders[prefix ?? ""] ?? "",
      inFolder.endsWith("/") ? `${inFolder}index.html` : inFolder,
    );
    sendFile(file, request, response).catch(() => response.writeHead(404).end("not found"));
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", () => ready(undefined)));
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  return {
    port,
    /** `localhost` and not its number: both count as secure, but people know the name. */
    url: `http://localhost:${port}/`,
    handlers,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/**
 * @param {string} file
 * @param {import("node:http").IncomingMessage} request
 * @param {import("node:http").ServerResponse} response
 */
async function sendFile(file, request, response) {
  const { size, mtime } = await stat(file);
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const start = range ? Number(range[1]) : 0;
  const last = range?.[2] ? Math.min(Number(range[2]), size - 1) : size - 1;
  const headers = {
    "content-type": TYPES[extname(file)] ?? "application/octet-stream",
    "accept-ranges": "bytes",
    "last-modified": mtime.toUTCString(),
  };
  if (range && start >= size) {
    response.writeHead(416, { "content-range": `bytes */${size}` }).end();
    return;
  }
  response.writeHead(range ? 206 : 200, {
    ...headers,
    "content-length": last - start + 1,
    ...(range ? { "content-range": `bytes ${start}-${last}/${size}` } : {}),
  });
  if (request.method === "HEAD" || size === 0) {
    response.end();
  } else {
    createReadStream(file, { start, end: last }).pipe(response);
  }
}
