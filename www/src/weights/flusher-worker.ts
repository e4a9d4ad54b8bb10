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
      if (thrown instanceof DOMException && thrown.name === "NotFoundError") {
        // Another tab has removed the model: it loads on, and of it nothing is to be kept.
        scope.postMessage({ key });
        return;
      }
      const { name, message } = thrown instanceof Error ? thrown : { name: "", message: String(thrown) };
      scope.postMessage({ key, failure: { name, message } });
    },
  );

async function flush(key: string): Promise<void> {
  // Found anew each time: handles of a store that was removed in between lead nowhere.
  const { parts, chunks } = await storeFolders();
  const { handle, file } = await openSync(parts, key, { create: false });
  try {
    file.flush();
  } finally {
    file.close();
  }
  await handle.move(chunks, key);
}
