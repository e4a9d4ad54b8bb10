/** Models from elsewhere on the page: looked at, downloaded, kept, removed. */
import { FaultyHost, filesOf, pack } from "./faults.js";
import { type Kinetoscope, expect, test as base } from "./fixtures.js";

const MODEL = filesOf(new URL("../golden/wan21/pipeline/", import.meta.url));
const [CHUNK, PART] = [64 << 10, 256 << 10];

const test = base.extend<{ host: FaultyHost }>({
  host: async ({ kinetoscope, server }, use) => {
    const host = await FaultyHost.start();
    serve(host, "tiny", pack("Tiny", MODEL, CHUNK, PART).served);
    await kinetoscope.page.goto(`${server.url}?device=cpu`);
    await kinetoscope.ready();
    await panel(kinetoscope).open();
    await use(host);
    host.close();
  },
});

function serve(host: FaultyHost, folder: string, files: ReadonlyMap<string, Buffer>): void {
  files.forEach((bytes, path) => host.files.set(`/${folder}/${path}`, bytes));
}

/** The panel, by what it says. */
function panel({ page }: Kinetoscope) {
  const models = page.locator("#models");
  return {
    models,
    current: page.locator("#model"),
    address: page.getByLabel("A model from elsewhere"),
    verdict: page.locator("#verdict-words"),
    ways: page.locator("#verdict-ways li"),
    use: page.getByRole("button", { name: "Download and use" }),
    kept: page.locator("#kept li"),
    total: page.locator("#kept-total"),
    stop: page.getByRole("button", { name: "Stop loading it" }),
    open: () => page.getByText("Models", { exact: false }).first().click(),
    look: async (address: string): Promise<void> => {
      await page.getByLabel("A model from elsewhere").fill(address);
      await page.getByRole("button", { name: "Look" }).click();
    },
  };
}

test("a model is looked at, then downloaded, kept, used again without the network, and removed", async ({
  kinetoscope,
  page,
  host,
}) => {
  const { current, verdict, use, kept, total, look, open } = panel(kinetoscope);
  await expect(page.getByText("None yet.")).toBeVisible();
  await look(`${host.url}tiny/manifest.json?token=secret`);
  await expect(verdict).toContainText(
    /^\d+\.\d MB of weights: text encoder .*, transformer .*, VAE .* It fits: /,
  );
  const sent = host.gets.reduce((sum, served) => sum + served.sent, 0);
  const all = [...MODEL.values()].reduce((sum, bytes) => sum + bytes.length, 0);
  expect(sent).toBeLessThan(all / 2);
  await expect(current).not.toContainText("wan21");

  await use.click();
  await expect(kept).toHaveCount(1);
  await expect(kept).toContainText(["Tiny"]);
  await expect(kept).toContainText([`${host.url}tiny/manifest.json`]);
  await expect(page.locator("#kept")).not.toContainText("secret");
  await expect(total).toHaveText(/^\d+\.\d MB$/);
  await page.setViewportSize({ width: 360, height: 740 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
  const name = await current.innerText();
  await kinetoscope.generate.click();
  await kinetoscope.done();

  await page.reload();
  await kinetoscope.ready();
  await open();
  await expect(kept).toHaveCount(1);
  await expect(current).not.toHaveText(name);
  host.die();
  await page.getByRole("button", { name: "Use Tiny" }).click();
  await expect(current).toHaveText(name);
  await expect(kinetoscope.alert).toBeHidden();

  await page.getByRole("button", { name: /^Remove Tiny, which frees/ }).click();
  await expect(kept).toHaveCount(0);
  await expect(page.getByText("None yet.")).toBeVisible();
  await expect(page.locator("#models > summary")).toBeFocused();
});

test("what is wrong with an address is said where it was asked", async ({ kinetoscope, page, host }) => {
  const { verdict, use, look, address } = panel(kinetoscope);
  await look(`${host.url}nothing/`);
  await expect(verdict).toContainText("model_index.json is missing");
  await expect(use).toBeHidden();
  await look("hf:nonsense");
  await expect(verdict).toContainText("expected hf:owner/name");
  await page.getByRole("button", { name: "Not now" }).click();
  await expect(verdict).toBeHidden();
  await expect(address).toBeFocused();
});

test("a model whose own size does not fit comes with what does, and starts with it", async ({
  kinetoscope,
  page,
  host,
}) => {
  const { verdict, ways, use, look, kept } = panel(kinetoscope);
  const defaults = JSON.parse(MODEL.get("kinetoscope.json")?.toString() ?? "{}") as object;
  const large = Buffer.from(JSON.stringify({ ...defaults, width: 4096, height: 4096 }));
  serve(host, "large", new Map(MODEL).set("kinetoscope.json", large));
  await look(`${host.url}large/`);
  await expect(verdict).toContainText("Its own size does not fit");
  await expect(ways.first()).toContainText(/which takes \d/);
  await use.click();
  await expect(kept).toContainText(["large"]);
  await expect(page.getByLabel("Size")).not.toHaveValue("4096x4096");
});

test("a download is stopped, and what came stays", async ({ kinetoscope, page, host }) => {
  const { current, use, stop, kept, look } = panel(kinetoscope);
  const own = await current.innerText();
  await look(`${host.url}tiny/manifest.json`);
  await use.waitFor();
  const stalled = host.stallAfter(400_000);
  await use.click();
  await stalled;
  await stop.click();
  await expect(stop).toBeHidden();
  await kinetoscope.ready();
  await expect(current).toHaveText(own);
  await expect(kept).toContainText([/Tiny .* of .* MB/]);
  await expect(kinetoscope.alert).toBeHidden();

  host.revive();
  await page.getByRole("button", { name: "Use Tiny" }).click();
  await expect(current).not.toHaveText(own);
  await expect(kept).not.toContainText([/ of /]);
  await page.getByRole("button", { name: "Back to this page’s own" }).click();
  await expect(current).toHaveText(own);
});

test("parts come from files of their own", async ({ kinetoscope, page, host }) => {
  const { current, verdict, use, look } = panel(kinetoscope);
  const own = await current.innerText();
  await page.getByText("Parts of it from files of their own").click();
  const file = new URL("../golden/wan21/files/transformer.gguf", import.meta.url).pathname;
  await page.getByLabel("File: Transformer", { exact: true }).setInputFiles(file);
  await expect(page.getByLabel("Transformer", { exact: true })).toHaveValue("transformer.gguf");
  serve(host, "folder", new Map([...MODEL].filter(([path]) => !path.startsWith("transformer/"))));
  await look(`${host.url}folder/`);
  await expect(verdict).toContainText("It fits");
  await use.click();
  await expect(current).not.toHaveText(own);
  await kinetoscope.generate.click();
  await kinetoscope.done();
});
