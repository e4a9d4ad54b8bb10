/** Addresses on a hub of models, as `hf:owner/name`, `hf:owner/name@revision`, and either with a path behind. */
import { KinetoscopeError } from "../errors.js";

export const HUB = "https://huggingface.co/";

const ADDRESS = /^hf:([\w.-]+)\/([\w.-]+)(?:@([^/\s]+))?((?:\/[^/?#\s]+)*)\/?$/;

/** Whether a text is meant as an address on a hub. */
export function isHubAddress(text: string): boolean {
  return text.startsWith("hf:");
}

/** Where the hub serves it; `hub` is another hub, or a mirror. A revision with slashes is given with `%2F` in their place. */
export function hubUrl(address: string, hub: string = HUB): string {
  const [, owner, name, revision = "main", path = ""] = ADDRESS.exec(address) ?? [];
  if (owner === undefined || name === undefined || path.split("/").includes("..")) {
    throw new KinetoscopeError(
      "option_invalid",
      `source is ${address}, expected hf:owner/name[@revision][/path]`,
      {
        option: "source",
        expected: "hf:owner/name[@revision][/path]",
        found: address,
      },
    );
  }
  return new URL(`${owner}/${name}/resolve/${revision}${path}`, hub.endsWith("/") ? hub : `${hub}/`).href;
}
