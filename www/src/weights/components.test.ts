import { describe, expect, it } from "vitest";
import { describeSource, openSource } from "./source.js";
import { Host, MemoryStore, ranged } from "./testing.js";

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

const base = {
  files: new Map<string, Blob>([
    ["model_index.json", new Blob(["{}"])],
    ["transformer/config.json", new Blob(["{}"])],
    ["transformer/diffusion_pytorch_model.safetensors", new Blob(["old"])],
    ["vae/config.json", new Blob(["vae"])],
    ["tokenizer/tokenizer.json", new Blob(["old"])],
    ["tokenizer/tokenizer_config.json", new Blob(["{}"])],
  ]),
};

describe("components from files of their own", () => {
  it("stand in for their folders, and hide what else is in them", async () => {
    const spec = describeSource({
      model: base,
      transformer: new Blob(["GGUF and more"]),
      textEncoder: new Blob(["any other"]),
      tokenizer: new Blob(["new"]),
    });
    const files = openSource(spec);
    expect(text(await files.read("model_index.json", 0, 2))).toBe("{}");
    expect(text(await files.read("vae/config.json", 0, 3))).toBe("vae");
    expect(await files.size("transformer/model.gguf")).toBe(13);
    expect(text(await files.read("transformer/model.gguf", 5, 8))).toBe("and");
    expect(text(await files.read("text_encoder/model.safetensors", 4, 9))).toBe("other");
    expect(text(await files.read("tokenizer/tokenizer.json", 0, 3))).toBe("new");
    for (const path of [
      "transformer/config.json",
      "transformer/model.safetensors",
      "transformer/diffusion_pytorch_model.safetensors",
      "text_encoder/model.gguf",
      "text_encoder/config.json",
      "tokenizer/tokenizer_config.json",
    ]) {
      await expect(files.size(path), path).rejects.toMatchObject({ code: "file_missing", details: { path } });
    }
  });

  it("need no folder", async () => {
    const files = openSource(describeSource({ vae: new Blob(["GG"]) }));
    expect(await files.size("vae/model.safetensors")).toBe(2);
    await expect(files.size("model_index.json")).rejects.toMatchObject({ code: "file_missing" });
  });

  it("come from hosts as well, and each is kept by itself", async () => {
    const bytes = new Uint8Array([..."GGUF"].map((letter) => letter.charCodeAt(0)));
    const host = await Host.start(ranged(bytes, { etag: '"1"' }));
    const store = new MemoryStore();
    const files = openSource(describeSource({ model: base, vae: `${host.url}files/vae.gguf?token=1` }), {
      store,
    });
    files.plan([{ path: "vae/model.gguf", start: 0, end: 4 }]);
    expect(text(await files.read("vae/model.gguf", 0, 4))).toBe("GGUF");
    await files.markComplete();
    expect(host.requests.length).toBe(2);
    expect([...store.records.values()]).toMatchObject([
      {
        name: "vae.gguf",
        source: `${host.url}files/vae.gguf`,
        complete: true,
        files: [{ path: "vae", bytes: 4 }],
      },
    ]);
    await host.stop();
  });

  it("are something", () => {
    expect(() => describeSource({})).toThrow(expect.objectContaining({ code: "option_invalid" }));
  });
});
