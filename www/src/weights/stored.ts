/** The models kept on this device: what they take, and their removal. */
import { OpfsStore } from "./opfs.js";

/** A model, or a single file of a component, that is kept on this device. */
export interface StoredModel {
  readonly id: string;
  /** The manifest's name of it, or the last words of its address. */
  readonly name: string;
  /** Where it came from, without a query. */
  readonly source: string;
  /** What it takes here. Chunks that other models have too count for each of them. */
  readonly bytes: number;
  /** What removing it frees. */
  readonly ownBytes: number;
  /** Bytes of all its files that have been asked for. */
  readonly totalBytes: number;
  /** Whether it was once loaded to the end; it then loads without the network too. */
  readonly complete: boolean;
}

/** Every model that is kept here, in part or whole; none where the browser keeps nothing. */
export async function storedModels(): Promise<StoredModel[]> {
  return (await lookAtStore()).models;
}

/** The models, and what all of them take together. */
export async function lookAtStore(): Promise<{ models: StoredModel[]; bytes: number }> {
  const list = (await (await OpfsStore.open())?.list()) ?? [];
  const sum = (entries: Iterable<[string, number]>): number =>
    [...entries].reduce((total, [, size]) => total + size, 0);
  const owners = new Map<string, number>();
  for (const { sizes } of list) {
    for (const key of sizes.keys()) {
      owners.set(key, (owners.get(key) ?? 0) + 1);
    }
  }
  const models = list.map(({ record: { id, name, source, complete, files }, sizes }) => ({
    id,
    name,
    source,
    bytes: sum(sizes),
    ownBytes: sum([...sizes].filter(([key]) => owners.get(key) === 1)),
    totalBytes: files.reduce((total, { bytes }) => total + bytes, 0),
    complete,
  }));
  // Chunks that models share are there once.
  return { models, bytes: sum(new Map(list.flatMap(({ sizes }) => [...sizes]))) };
}

/** Removes a model from this device; chunks that another one has too stay. One that is being loaded loads on, from the network. */
export async function removeModel(id: string): Promise<void> {
  await (await OpfsStore.open())?.remove(id);
}

/** Asks the browser not to drop what is kept when the disk gets full; gives whether it agreed. Some ask the visitor. */
export async function persist(): Promise<boolean> {
  return isSecureContext && (await navigator.storage.persist());
}
