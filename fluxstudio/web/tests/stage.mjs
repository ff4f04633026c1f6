/** What every play needs: the browser, people in it, and the hands that harm the servers. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after } from "node:test";

import { chromium } from "playwright-core";

export const addresses = (process.env.STAGE_ADDRESSES ?? "").split(" ");
const artefacts = process.env.STAGE_ARTEFACTS ?? ".";
const PATIENCE_MS = Number(process.env.STAGE_PATIENCE_MS ?? 30_000);

/** Asks the stage for something: a world, mail, a dead worker. */
export async function ask(what, given = {}) {
  const response = await fetch(`${process.env.STAGE_CONTROL}/${what}`, { method: "POST", body: JSON.stringify(given) });
  assert.equal(response.status, 200, `the stage can't do ${what}`);
  return response.json();
}

export const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
after(() => browser.close());

const pages = [];

/** Somebody in a browser of their own. What their console says against us, and what breaks, is kept. */
export async function visitor(address = 0, token = null, options = {}) {
  const context = await browser.newContext({
    baseURL: addresses[address],
    viewport: { width: 1280, height: 800 },
    permissions: ["clipboard-read", "clipboard-write"],
    ...options,
  });
  if (token !== null) await context.addCookies([{ name: "flux", value: token, url: addresses[address] }]);
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.troubles = [];
  page.on("pageerror", (error) => page.troubles.push(`${error.message}\n${error.stack ?? ""}`));
  page.on("console", (message) => {
    const text = message.text();
    // The browser itself tells of each answer that is an error, and of each connection that ends.
    if (message.type() === "error" && !/Failed to load resource|WebSocket connection|ERR_/.test(text)) {
      page.troubles.push(text);
    }
  });
  pages.push(page);
  return page;
}

/** Opens a board and returns when it is drawn and connected. */
export async function openBoard(page, world) {
  await page.goto(`/projects/${world.project}/boards/${world.board}`);
  await page.waitForSelector(".board[data-ready=true]");
}

/** Opens the search and returns when one can type into it. */
export async function openSearch(page) {
  await page.keyboard.press("Control+k");
  await page.waitForSelector("dialog.palette input:focus");
}

/** Draws a rectangle with the mouse. */
export async function draw(page, x, y, width = 80, height = 60) {
  const box = await page.locator(".excalidraw canvas.interactive").boundingBox();
  await page.mouse.click(box.x + 6, box.y + box.height - 120);
  await page.keyboard.press("r");
  await page.mouse.move(box.x + x, box.y + y);
  await page.mouse.down();
  await page.mouse.move(box.x + x + width, box.y + y + height, { steps: 6 });
  await page.mouse.up();
  await page.keyboard.press("Escape");
}

/** Returns the elements that this browser shows, as it copies them. */
export async function elements(page) {
  const box = await page.locator(".excalidraw canvas.interactive").boundingBox();
  await page.mouse.click(box.x + 6, box.y + box.height - 120);
  await page.evaluate(() => navigator.clipboard.writeText(""));
  await page.keyboard.press("Control+a");
  await page.keyboard.press("Control+c");
  const text = await until(() => page.evaluate(() => navigator.clipboard.readText()));
  await page.keyboard.press("Escape");
  return JSON.parse(text).elements.sort((one, other) => one.id.localeCompare(other.id));
}

export async function write(page, text) {
  await page.fill("textarea[aria-label=Message]", text);
  await page.press("textarea[aria-label=Message]", "Enter");
}

/** Waits for something to become true, and returns it. */
export async function until(check, patience = PATIENCE_MS) {
  const end = Date.now() + patience;
  let last;
  while (Date.now() < end) {
    try {
      const value = await check();
      if (value) return value;
      last = value;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  throw new Error(`it never came true: ${check}`, { cause: last });
}

/** Runs a test and keeps pictures of what was seen when it fails. */
export function play(action) {
  return async (t) => {
    try {
      await action(t);
    } catch (error) {
      for (const [index, page] of pages.entries()) {
        const name = `${t.name.replace(/\W+/g, "-").slice(0, 60)}-${index}.png`;
        await page.screenshot({ path: join(artefacts, name) }).catch(() => undefined);
        console.log(`page ${index}: ${page.url()} ${JSON.stringify(page.troubles)}`);
      }
      throw error;
    } finally {
      for (const page of pages.splice(0)) await page.context().close();
    }
  };
}
