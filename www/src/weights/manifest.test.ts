import { describe, expect, it } from "vitest";
import { KinetoscopeError } from "../errors.js";
import { parseManifest } from "./manifest.js";
import { BYTES, manifestOf } from "./testing.js";

const { manifest } = await manifestOf(BYTES, 7000, 28_000);
const file = manifest.files[0] ?? { path: "", bytes: 0, parts: [], chunks: [] };

/** The field that a manifest is refused for. */
function refused(change: Record<string, unknown> | string): unknown {
  try {
    parseManifest("m.json", typeof change === "string" ? change : JSON.stringify({ ...manifest, ...change }));
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(KinetoscopeError);
    const { code, details } = thrown as KinetoscopeError;
    expect(code).toBe("manifest_invalid");
    return details["field"];
  }
  return undefined;
}

const withFile = (change: Record<string, unknown>) => ({ files: [{ ...file, ...change }] });

describe("a manifest", () => {
  it("is taken as it is", () => {
    expect(parseManifest("m.json", JSON.stringify(manifest))).toEqual(manifest);
  });

  it("may have empty files", () => {
    expect(refused(withFile({ bytes: 0, parts: [], chunks: [] }))).toBeUndefined();
  });

  it.each<[string, Record<string, unknown> | string]>([
    ["the file", "no JSON"],
    ["the file", "[]"],
    ["the file", "null"],
    ["format", { format: "other" }],
    ["version", { version: 2 }],
    ["name", { name: 5 }],
    ["licence", { licence: 5 }],
    ["components", { components: [] }],
    ["components.vae", { components: { vae: null } }],
    ["components.vae.bytes", { components: { vae: { bytes: -1, dtype: "f16" } } }],
    ["components.vae.dtype", { components: { vae: { bytes: 1 } } }],
    ["defaults", { defaults: null }],
    ["chunk_bytes", { chunk_bytes: 0 }],
    ["chunk_bytes", { chunk_bytes: 1e12 }],
    ["chunk_bytes", { chunk_bytes: 7000.5 }],
    ["part_bytes", { part_bytes: 28_001 }],
    ["part_bytes", { part_bytes: 0 }],
    ["files", { files: {} }],
    ["files[0]", { files: [null] }],
    ["files[0].bytes", withFile({ bytes: 1e300 })],
    ["files[0].bytes", withFile({ bytes: "5" })],
    ["files[0].parts", withFile({ parts: file.parts.slice(1) })],
    ["files[0].chunks", withFile({ chunks: file.chunks.slice(1) })],
    ["files[0].chunks", withFile({ chunks: file.chunks.map((hash) => hash.toUpperCase()) })],
    ["files[0].chunks", withFile({ bytes: Number.MAX_SAFE_INTEGER, parts: [] })],
    ["files[1].path", { files: [file, file] }],
  ])("is refused for %s: %j", (field, change) => {
    expect([field, field.replace("chunks", "parts")]).toContain(refused(change));
  });

  it.each([
    "../a",
    "a/../b",
    "/a",
    "//host/a",
    "https://host/a",
    "a\\b",
    "a//b",
    "",
    ".",
    "a?b",
    "a#b",
    "data:x",
    5,
  ])("does not lead out of its folder by %j", (path) => {
    expect(refused(withFile({ path }))).toBe("files[0].path");
    expect(refused(withFile({ parts: file.parts.map(() => path) }))).toBe("files[0].parts");
  });
});
