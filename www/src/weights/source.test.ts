import { describe, expect, it } from "vitest";
import { KinetoscopeError } from "../errors.js";
import { describeSource, openSource } from "./source.js";

function file(text: string, path: string): File {
  const made = new File([text], path.split("/").at(-1) ?? "");
  Object.defineProperty(made, "webkitRelativePath", { value: path });
  return made;
}

describe("describeSource", () => {
  it("takes a URL as a folder, and keeps its query", () => {
    expect(describeSource("https://a.example/models/wan?token=1#x")).toEqual({
      kind: "folder",
      url: "https://a.example/models/wan/?token=1",
    });
    expect(describeSource(new URL("https://a.example/wan/"))).toEqual({
      kind: "folder",
      url: "https://a.example/wan/",
    });
  });

  it("refuses what is no URL", () => {
    expect(() => describeSource("http://")).toThrow(expect.objectContaining({ code: "option_invalid" }));
  });

  it("drops the chosen folder's own name from paths", () => {
    const spec = describeSource({
      files: [file("{}", "wan/model_index.json"), file("{}", "wan/vae/config.json")],
    });
    expect(spec.kind === "files" && [...spec.files.keys()]).toEqual(["model_index.json", "vae/config.json"]);
  });
});

describe("files", () => {
  const files = openSource({ kind: "files", files: new Map([["vae/w", new Blob(["0123456789"])]]) });

  it("gives exact spans", async () => {
    expect(await files.size("vae/w")).toBe(10);
    expect(new TextDecoder().decode(await files.read("vae/w", 3, 6))).toBe("345");
  });

  it("says what is missing and what is truncated", async () => {
    await expect(files.size("vae/x")).rejects.toMatchObject({
      code: "file_missing",
      details: { path: "vae/x" },
    });
    await expect(files.read("vae/w", 5, 12)).rejects.toMatchObject({
      code: "file_truncated",
      details: { path: "vae/w", expected: 12, found: 10 },
    });
  });

  it("stops when aborted", async () => {
    const stopped = openSource(
      { kind: "files", files: new Map([["w", new Blob(["0"])]]) },
      { signal: AbortSignal.abort() },
    );
    await expect(stopped.read("w", 0, 1)).rejects.toBeInstanceOf(KinetoscopeError);
  });
});
