import { expect, it } from "vitest";
import { hubUrl } from "./hub.js";
import { describeSource } from "./source.js";

it.each([
  ["hf:owner/name", "https://huggingface.co/owner/name/resolve/main"],
  ["hf:owner/name/", "https://huggingface.co/owner/name/resolve/main"],
  ["hf:owner/name@v1.0", "https://huggingface.co/owner/name/resolve/v1.0"],
  [
    "hf:owner/Na.me_2@refs%2Fpr%2F1/a/b.gguf",
    "https://huggingface.co/owner/Na.me_2/resolve/refs%2Fpr%2F1/a/b.gguf",
  ],
])("%s is %s", (address, url) => {
  expect(hubUrl(address)).toBe(url);
});

it("takes a mirror, with or without a slash at its end", () => {
  expect(hubUrl("hf:a/b/c.json", "http://localhost:1/hub")).toBe(
    "http://localhost:1/hub/a/b/resolve/main/c.json",
  );
  expect(hubUrl("hf:a/b", "http://localhost:1/hub/")).toBe("http://localhost:1/hub/a/b/resolve/main");
});

it.each(["hf:", "hf:owner", "hf:owner/", "hf:owner/name@", "hf:a/b/../c", "hf:a/b?x=1", "hf:/a/b"])(
  "%s is none",
  (address) => {
    expect(() => hubUrl(address)).toThrow(expect.objectContaining({ code: "option_invalid" }));
  },
);

it("leads to folders, manifests and single files", () => {
  expect(describeSource("hf:a/b@r/sub")).toEqual({
    kind: "folder",
    url: "https://huggingface.co/a/b/resolve/r/sub/",
  });
  expect(describeSource("hf:a/b/manifest.json", "http://h/")).toEqual({
    kind: "manifest",
    url: "http://h/a/b/resolve/main/manifest.json",
  });
  expect(describeSource({ vae: "hf:a/b/vae.safetensors" }, "http://h")).toMatchObject({
    components: new Map([["vae", { kind: "single", url: "http://h/a/b/resolve/main/vae.safetensors" }]]),
  });
});
