/** Takes the pictures in docs/images of a studio that runs: node tests/pictures.mjs http://127.0.0.1:8000 */
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const [address = "http://127.0.0.1:8000"] = process.argv.slice(2);
const place = (name) => fileURLToPath(new URL(`../../../docs/images/${name}.png`, import.meta.url));
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });

async function visitor(options = {}) {
  const context = await browser.newContext({ baseURL: address, viewport: { width: 1200, height: 750 }, ...options });
  const page = await context.newPage();
  await page.goto("/");
  await page.fill("input[name=email]", "demo@fluxstudio.example");
  return page;
}

async function signIn(page) {
  await page.fill("input[name=password]", "demo-studio-2026");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".tile");
  return page;
}

const pause = (page, ms = 700) => page.waitForTimeout(ms);

const page = await visitor();
await page.screenshot({ path: place("sign-in") });
await signIn(page);
await pause(page);
await page.screenshot({ path: place("projects") });
await page.locator(".tile", { hasText: "owner" }).first().click();
await page.waitForSelector(".project h1");
const first = page.getByText("Make the first one");
await Promise.race([first.waitFor(), page.waitForSelector(".board[data-ready=true]")]);
if (await first.isVisible()) await first.click();
await page.waitForSelector(".board[data-ready=true]");
const canvas = page.locator(".excalidraw canvas.interactive");

async function stroke(page, tool, from, to) {
  const box = await page.locator(".excalidraw canvas.interactive").boundingBox();
  await page.keyboard.press(tool);
  await page.mouse.move(box.x + from[0], box.y + from[1]);
  await page.mouse.down();
  await page.mouse.move(box.x + to[0], box.y + to[1], { steps: 8 });
  await page.mouse.up();
  await page.keyboard.press("Escape");
}

await canvas.click({ position: { x: 400, y: 560 } });
await stroke(page, "r", [280, 130], [430, 220]);
await stroke(page, "r", [560, 130], [710, 220]);
await stroke(page, "a", [440, 175], [550, 175]);
await stroke(page, "o", [400, 300], [600, 420]);
await stroke(page, "a", [630, 230], [540, 300]);
// A guest, so that there is somebody else.
await page.click("summary[aria-label='Menu of the project']");
await page.getByRole("button", { name: "Share the board" }).click();
await page.selectOption("[aria-label='What guests may do']", "edit");
await page.getByRole("button", { name: "Make a link" }).click();
const link = await page.getByLabel("The new link").inputValue();
await page.screenshot({ path: place("share") });
await page.keyboard.press("Escape");
const guest = await (await browser.newContext({ viewport: { width: 1200, height: 750 } })).newPage();
await guest.goto(link);
await guest.waitForSelector(".board[data-ready=true]");
await stroke(guest, "r", [300, 470], [400, 540]);
await guest.mouse.move(560, 450, { steps: 8 });
await page.waitForSelector(".people >> text=Guest");
await guest.mouse.move(600, 480, { steps: 8 });
await pause(page);
await page.screenshot({ path: place("board") });
await page.click("summary[aria-label='Menu of the project']");
await page.getByRole("button", { name: "History of the board" }).click();
await page.locator("dialog[open]").getByLabel("Name").fill("Before the review");
await page.keyboard.press("Enter");
await page.waitForSelector("dialog[open] .preview img");
await pause(page);
await page.screenshot({ path: place("history") });
await page.keyboard.press("Escape");
// Folders: some more boards.
const where = page.url();
async function menu(name) {
  await page.click("summary[aria-label='Menu of the project']");
  await page.getByRole("button", { name, exact: true }).click();
  await page.waitForSelector("dialog[open]");
}
for (const [title, folder] of [
  ["Poster A2", "Campaign/Print"],
  ["Flyer", "Campaign/Print"],
  ["Story, 9:16", "Campaign/Social"],
]) {
  await page.getByRole("button", { name: "New board" }).click();
  await page.waitForSelector(".tabs a[aria-current] >> text=Board");
  await menu("Rename or move the board");
  await page.locator("dialog[open] input[name=title]").fill(title);
  await page.locator("dialog[open] input[name=folder]").fill(folder);
  await page.keyboard.press("Enter");
  await page.waitForSelector(`.tabs a[aria-current] >> text=${title}`);
}
await page.goto(where);
await page.waitForSelector(".board[data-ready=true]");
await page.click("summary[aria-label=Folders]");
await pause(page);
await page.screenshot({ path: place("folders") });
await page.keyboard.press("Escape");
await page.goto(where);
await page.waitForSelector(".board[data-ready=true]");
await menu("Members");
await page.locator("dialog[open] input[name=email]").fill("noor@example.org");
await page.keyboard.press("Enter");
await page.waitForSelector("[aria-label=Invited]");
await pause(page);
await page.screenshot({ path: place("members") });
await page.keyboard.press("Escape");
await page.keyboard.press("Control+k");
await page.keyboard.type("poster");
await page.waitForSelector("[role=option] small >> text=board");
await pause(page);
await page.screenshot({ path: place("search") });
const messages = page.locator("[role=option]").filter({ hasNot: page.locator("small", { hasText: /^(board|project)$/ }) });
await messages.first().click();
await page.waitForSelector(".message[data-found=true]");
await pause(page);
await page.screenshot({ path: place("found") });
await page.goto("/pulse");
await page.waitForSelector(".chart path[d^=M]", { state: "attached" });
await page.getByRole("button", { name: "Click for me" }).click();
await page.waitForSelector(".last-clicks li");
await page.evaluate(async () => {
  for (let n = 0; n < 400; n += 1) {
    await fetch(["/api/projects", "/api/me", "/api/people", "/api/search?q=poster"][n % 4]);
    await new Promise((resolve) => setTimeout(resolve, 60 + 50 * Math.sin(n / 25)));
  }
});
await page.setViewportSize({ width: 1200, height: 1250 });
await pause(page);
await page.screenshot({ path: place("pulse") });
await page.setViewportSize({ width: 1200, height: 750 });
await page.goto("/account");
await page.waitForSelector("text=this one");
await page.screenshot({ path: place("account") });
const dark = await signIn(await visitor({ colorScheme: "dark" }));
await dark.goto(where);
await dark.waitForSelector(".board[data-ready=true]");
await pause(dark, 1500);
await dark.screenshot({ path: place("board-dark") });
await dark.goto("/pulse");
await dark.waitForSelector(".chart path[d^=M]", { state: "attached" });
await pause(dark, 9_000);
await dark.screenshot({ path: place("pulse-dark") });
const phone = await signIn(await visitor({ viewport: { width: 390, height: 780 }, hasTouch: true }));
await phone.screenshot({ path: place("phone-projects") });
await phone.goto("/pulse");
await phone.waitForSelector(".chart path[d^=M]", { state: "attached" });
await pause(phone, 5_000);
await phone.screenshot({ path: place("phone-pulse") });
await phone.goto(where);
await phone.waitForSelector(".board[data-ready=true]");
await pause(phone, 1000);
await phone.screenshot({ path: place("phone-board") });
await browser.close();
