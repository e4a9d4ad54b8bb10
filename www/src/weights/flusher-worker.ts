/** The worker behind `flusher.ts`: puts written chunks onto the disk and gives them their final names. */
import { openSync, storeFolders } from "./folders.js";
import type { FromFlusher, ToFlusher } from "./flusher.js";

/** The part of the worker's scope that is used; the DOM's types describe a window instead. */
interface WorkerScope {
  postMessage(message: FromFlusher): void;
  onmessage: ((event: MessageEvent<ToFlusher>) => void) | null;
}
const scope = globalThis as unknown as WorkerScope;

scope.onmessage = ({ data: key }) =>
  void flush(key).then(
    () => scope.postMessage({ key }),
    (thrown: unknown) => {
      const { name, message } = thrown instanceof Error ? thrown : { name: "", message: String(thrown) };
      scope.postMessage({ key, failure: { name, message } });
    },
  );

async function flush(key: string): Promise<void> {
  const { parts, chunks } = await storeFolders();
  const { handle, file } = await openSync(parts, key);
  try {
    file.flush();
  } finally {
    file.close();
  }
  await handle.move(chunks, key);
}
