import assert from "node:assert/strict";
import { test } from "node:test";

import { ask, draw, elements, openBoard, play, until, visitor, write } from "./stage.mjs";

const count = async (page) => (await elements(page)).filter((one) => one.type === "rectangle").length;

test(
  "what is drawn and written without a connection is kept over a reload, and sent once when it is back",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    const ben = await visitor(1, world.people.Ben.token);
    await Promise.all([openBoard(ada, world), openBoard(ben, world)]);
    await ask("line", { number: 0, open: false });
    await draw(ada, 250, 150);
    await write(ada, "written in a tunnel");
    await ada.waitForSelector(".message.unsent");
    await ada.waitForSelector(".banner >> text=The connection is lost");
    await ada.waitForTimeout(700); // what was drawn is kept after 400 ms: there is no event to wait for
    const board = ada.url();
    await ada.goto("about:blank"); // the tab is gone, and with it all that was only in its memory
    await ask("line", { number: 0, open: true });
    assert.equal(await count(ben), 0);
    await ada.goto(board);
    await ben.waitForSelector(".message >> text=written in a tunnel");
    await until(async () => (await count(ben)) === 1);
    await ada.waitForSelector(".board[data-ready=true]");
    await ada.waitForSelector(".message:not(.unsent) >> text=written in a tunnel");
    await until(async () => (await ada.locator(".message.unsent").count()) === 0);
    for (const page of [ada, ben]) {
      assert.equal(await page.locator(".message >> text=written in a tunnel").count(), 1);
      await until(async () => (await count(page)) === 1); // a board is ready before it is painted
    }
  }),
);

test(
  "a session ends in the middle of work: one signs in again, is back where one was, and has lost nothing",
  play(async () => {
    const email = `piet.${Date.now()}@example.org`;
    const password = "a long way to the harbour";
    const page = await visitor();
    await page.goto("/sign-up");
    await page.getByLabel("Name").fill("Piet");
    await page.getByLabel("E-mail").fill(email);
    await page.getByLabel("Password").fill(password);
    await page.keyboard.press("Enter");
    await page.waitForSelector("text=A mail is on its way");
    await page.goto((await ask("mail", { to: email, about: "" })).link);
    await page.getByRole("button", { name: "Confirm" }).click();
    await page.click("text=New project");
    await page.locator("dialog[open] input[name=title]").fill("Night shift");
    await page.keyboard.press("Enter");
    await page.click("text=Make the first one");
    await page.waitForSelector(".board[data-ready=true]");
    await write(page, "before");
    await page.waitForSelector(".message:not(.unsent) >> text=before");
    const { id } = await page.evaluate(async () => (await fetch("/api/me")).json());
    const where = new URL(page.url()).pathname;
    await ask("line", { number: 0, open: false });
    await draw(page, 300, 200);
    await write(page, "in the middle of work");
    await page.waitForTimeout(700); // what was drawn is kept after 400 ms: there is no event to wait for
    await ask("sign-out", { user: id });
    await ask("line", { number: 0, open: true });
    await page.waitForSelector("h1 >> text=Sign in to FluxStudio");
    await page.getByLabel("E-mail").fill(email);
    await page.getByLabel("Password").fill(password);
    await page.keyboard.press("Enter");
    await page.waitForSelector(".board[data-ready=true]");
    assert.equal(new URL(page.url()).pathname, where);
    await page.waitForSelector(".message:not(.unsent) >> text=in the middle of work");
    await until(async () => (await count(page)) === 1);
  }),
);
