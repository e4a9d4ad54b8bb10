/** The loader alone, and what the browser gives without it, for measuring one beside the other. Runs in a worker of a page. */

const SPAN = 4 << 20;

/** Fetches a file, hands its pieces to `take` as they come, and gives its length. */
export async function fetchBare(
  /** @type {string} */ url,
  /** @type {(piece: Uint8Array, at: number) => void} */ take = () => undefined,
) {
  const reader = (await fetch(url, { cache: "no-store" })).body?.getReader();
  let at = 0;
  for (let next = await reader?.read(); next?.value; next = await reader?.read()) {
    take(next.value, at);
    at += next.value.length;
  }
  return at;
}

/** Fetches a file into a private one. */
export async function keepBare(/** @type {string} */ url, /** @type {any} */ file) {
  await fetchBare(url, (piece, at) => file.write(piece, { at }));
  file.flush();
}

/** Reads that many bytes of a private file. */
export function readBare(/** @type {any} */ file, /** @type {number} */ bytes) {
  for (let at = 0; at < bytes; at += SPAN) {
    file.read(new Uint8Array(Math.min(SPAN, bytes - at)), { at });
  }
}

/** A private file of the origin, open. */
export async function openBare(/** @type {string} */ name) {
  const root = await navigator.storage.getDirectory();
  const handle = /** @type {any} */ (await root.getFileHandle(name, { create: true }));
  return handle.createSyncAccessHandle();
}

/** Reads a file of this server through the loader as the wasm reads: spans of 4 MiB in the order of the file, three at once. */
export async function readThroughLoader(/** @type {string} */ path, /** @type {unknown} */ store) {
  const library = "/lib/weights/source.js";
  const { openSource } = await import(library);
  const source = openSource({ kind: "folder", url: new URL("/", location.href).href }, { store });
  const length = await source.size(path);
  source.plan([{ path, start: 0, end: length }]);
  let next = 0;
  const read = async () => {
    while (next < length) {
      const start = next;
      next = Math.min(start + SPAN, length);
      source.giveBack(await source.read(path, start, next));
    }
  };
  await Promise.all([read(), read(), read()]);
  // Not before the disk has what is to be stored.
  await source.markComplete();
  source.release();
}
