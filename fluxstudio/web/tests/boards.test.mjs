import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { addresses, ask, draw, elements, openBoard, play, until, visitor } from "./stage.mjs";

const canvas = ".excalidraw canvas.interactive";
const count = async (page, type = "rectangle") => (await elements(page)).filter((one) => one.type === type).length;

/** Chooses something in the menu of the project. */
async function choose(page, name) {
  await page.click("summary[aria-label='Menu of the project']");
  await page.getByRole("button", { name }).click();
}

/** Opens Excalidraw's own menu and chooses something. */
async function chooseOnBoard(page, name) {
  await page.click("[data-testid=main-menu-trigger]");
  await page.locator(`[data-testid=${name}]`).click();
}

test(
  "an image that one drops on a board is seen by others, and is there after a reload",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    const ben = await visitor(1, world.people.Ben.token);
    await Promise.all([openBoard(ada, world), openBoard(ben, world)]);
    const sent = ada.waitForResponse((response) => response.request().method() === "PUT" && response.url().includes("/images/"));
    const arrived = ben.waitForResponse((response) => response.status() === 200 && response.url().includes("/images/"));
    const transfer = await ada.evaluateHandle(async () => {
      const picture = document.createElement("canvas");
      picture.width = picture.height = 120;
      const context = picture.getContext("2d");
      context.fillStyle = "tomato";
      context.fillRect(0, 0, 120, 120);
      const blob = await new Promise((resolve) => picture.toBlob(resolve, "image/png"));
      const data = new DataTransfer();
      data.items.add(new File([blob], "tomato.png", { type: "image/png" }));
      return data;
    });
    await ada.dispatchEvent(canvas, "drop", { dataTransfer: transfer, clientX: 500, clientY: 400 });
    assert.equal((await sent).status(), 200);
    await arrived;
    await until(async () => (await count(ben, "image")) === 1);
    await Promise.all([
      ben.waitForResponse((response) => response.status() === 200 && response.url().includes("/images/")),
      ben.reload(),
    ]);
    assert.deepEqual([...ada.troubles, ...ben.troubles], []);
  }),
);

test(
  "a board that one opens again and again stays what it was",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    await openBoard(ada, world);
    await draw(ada, 250, 150);
    await until(async () => {
      const { elements: there } = await ada.evaluate(async (id) => (await fetch(`/api/boards/${id}/scene`)).json(), world.board);
      return there.some((one) => one.width === 80);
    });
    for (let time = 0; time < 3; time += 1) {
      await ada.reload();
      await ada.waitForSelector(".board[data-ready=true]");
      await until(async () => (await count(ada)) === 1);
    }
  }),
);

test(
  "a guest with a link draws along without an account, and is out when the link is revoked",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    await openBoard(ada, world);
    await choose(ada, "Share the board");
    await ada.selectOption("[aria-label='What guests may do']", "edit");
    await ada.getByRole("button", { name: "Make a link" }).click();
    const link = await ada.getByLabel("The new link").inputValue();
    assert.ok(link.startsWith(`${addresses[0]}/b#`));
    const guest = await visitor(1);
    await guest.goto(link.replace(addresses[0], addresses[1]));
    await guest.waitForSelector(".board[data-ready=true]");
    await draw(guest, 300, 200);
    await ada.keyboard.press("Escape");
    await ada.waitForSelector(".people >> text=Guest");
    await until(async () => (await count(ada)) === 1);
    await choose(ada, "Share the board");
    await ada.locator("dialog[open]").getByRole("button", { name: "Revoke" }).last().click();
    await guest.waitForSelector("text=This board is not yours to see any more");
  }),
);

test(
  "a board is kept under a name and restored, for everybody",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    const ben = await visitor(1, world.people.Ben.token);
    await Promise.all([openBoard(ada, world), openBoard(ben, world)]);
    await draw(ada, 250, 150);
    await until(async () => (await count(ben)) === 1);
    await choose(ada, "History of the board");
    await ada.locator("dialog[open]").getByLabel("Name").fill("One box");
    await ada.keyboard.press("Enter");
    await ada.waitForSelector("dialog[open] [aria-pressed=true] >> text=One box");
    await ada.waitForSelector("dialog[open] .preview img");
    await ada.keyboard.press("Escape");
    await draw(ben, 450, 150);
    await until(async () => (await elements(ada)).filter((one) => one.width === 80).length === 2);
    await choose(ada, "History of the board");
    await ada.locator("dialog[open] [aria-pressed]", { hasText: "One box" }).click();
    await ada.getByRole("button", { name: "Restore it" }).click();
    await until(async () => (await count(ada)) === 1 && (await count(ben)) === 1);
  }),
);

test(
  "a board is exported as PNG and SVG, saved as a file, and such a file is opened for everybody",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    const ben = await visitor(1, world.people.Ben.token);
    // Without the browser's own dialogs files are downloaded and chosen as in every other browser.
    await ada.addInitScript(() => {
      delete window.showSaveFilePicker;
      delete window.showOpenFilePicker;
    });
    await Promise.all([openBoard(ada, world), openBoard(ben, world)]);
    await draw(ada, 250, 150);
    const starts = { PNG: "\x89PNG", SVG: "<svg" };
    for (const [kind, start] of Object.entries(starts)) {
      await chooseOnBoard(ada, "image-export-button");
      const download = ada.waitForEvent("download");
      await ada.getByRole("button", { name: `Export to ${kind}` }).click();
      const content = await readFile(await (await download).path(), "latin1");
      assert.ok(content.includes(start), kind);
      await ada.keyboard.press("Escape");
      await ada.locator(".Modal").waitFor({ state: "detached" });
    }
    await chooseOnBoard(ada, "json-export-button");
    const download = ada.waitForEvent("download");
    await ada.locator(".ExportDialog-cards button, .Card-button").first().click();
    const saved = JSON.parse(await readFile(await (await download).path(), "utf8"));
    assert.equal(saved.elements.filter((one) => one.type === "rectangle").length, 1);
    await ada.keyboard.press("Escape");

    await draw(ada, 450, 150);
    await until(async () => (await count(ben)) === 2);
    const chooser = ada.waitForEvent("filechooser");
    await chooseOnBoard(ada, "load-button");
    await ada.getByRole("button", { name: /Load from file/ }).click();
    await (await chooser).setFiles({
      name: "saved.excalidraw",
      mimeType: "application/json",
      buffer: Buffer.from(JSON.stringify(saved)),
    });
    await until(async () => (await count(ben)) === 1);
    assert.equal(await count(ada), 1);
    assert.deepEqual([...ada.troubles, ...ben.troubles], []);
  }),
);

test(
  "an owner makes a member a viewer, renames and publishes: everybody sees it at once",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    const ben = await visitor(1, world.people.Ben.token);
    await Promise.all([openBoard(ada, world), openBoard(ben, world)]);
    await choose(ada, "Members");
    await ada.getByLabel("Role of Ben").selectOption("viewer");
    await ben.waitForSelector("text=Viewers read along.");
    await ada.keyboard.press("Escape");
    await choose(ada, "Project and public page");
    await ada.locator("dialog[open] input[name=title]").fill("Harbour, second print");
    await ada.keyboard.press("Enter");
    await ben.waitForSelector("h1 >> text=Harbour, second print");
    await ada.locator("dialog[open] input[name=slug]").fill(`second-print-${Date.now()}`);
    await ada.locator("dialog[open] input[name=headline]").fill("It is printed");
    await ada.keyboard.press("Enter");
    const page = await ada.waitForSelector("dialog[open] a[href^='/p/second-print']");
    const nobody = await visitor(1, null, { javaScriptEnabled: false });
    await nobody.goto(await page.getAttribute("href"));
    await nobody.waitForSelector("h1 >> text=It is printed");
  }),
);
