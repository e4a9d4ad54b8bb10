/** What was found out about devices by trying them, kept between visits: trying takes up to a second. */
import type { Tuning } from "./wasm/kinetoscope.js";

const CACHE = "kinetoscope-devices";
/** No such file is ever asked for: a cache keeps responses by address. */
const ADDRESS = "https://kinetoscope.invalid/devices.json";
/** Devices that are remembered: browsers and shaders change, and what was true of earlier ones is of no use. */
const REMEMBERED = 8;

/** What is remembered; nothing where the browser keeps nothing, as in a private window. */
export async function rememberedTunings(): Promise<Tuning[]> {
  try {
    // Not by opening the cache, which would make one.
    const kept: unknown = await (await caches.match(ADDRESS, { cacheName: CACHE }))?.json();
    return Array.isArray(kept) ? (kept as Tuning[]) : [];
  } catch {
    return [];
  }
}

/** Remembers what a device has shown, for the next visits. */
export async function rememberTuning(tuning: Tuning | undefined, known: readonly Tuning[]): Promise<void> {
  if (!tuning || known.some(({ key }) => key === tuning.key)) {
    return;
  }
  const all = [tuning, ...known].slice(0, REMEMBERED);
  try {
    await (await caches.open(CACHE)).put(ADDRESS, new Response(JSON.stringify(all)));
  } catch {
    // It is found out again the next time.
  }
}
