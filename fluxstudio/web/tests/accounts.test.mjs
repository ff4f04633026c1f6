import assert from "node:assert/strict";
import { test } from "node:test";

import { addresses, ask, play, until, visitor } from "./stage.mjs";

const PASSWORD = "a long way to the harbour";

test(
  "one signs up, confirms the address by mail, signs in elsewhere, and signs the other device out",
  play(async () => {
    const email = `nova.${Date.now()}@example.org`;
    const page = await visitor();
    await page.goto("/sign-up");
    await page.getByLabel("Name").fill("Nova");
    await page.getByLabel("E-mail").fill(email);
    await page.getByLabel("Password").fill(PASSWORD);
    await page.keyboard.press("Enter");
    await page.waitForSelector("text=A mail is on its way");
    const { link } = await ask("mail", { to: email, about: "" });
    await page.goto(link);
    await page.getByRole("button", { name: "Confirm" }).click();
    await page.waitForSelector("h1 >> text=Projects");

    const other = await visitor(1);
    await other.goto("/account");
    await other.waitForSelector("h1 >> text=Sign in");
    await other.getByLabel("E-mail").fill(email);
    await other.getByLabel("Password").fill("something else entirely");
    await other.keyboard.press("Enter");
    await other.waitForSelector(".problem:not(:empty)");
    await other.getByLabel("Password").fill(PASSWORD);
    await other.keyboard.press("Enter");
    await other.waitForSelector("h1 >> text=Your account");
    await until(async () => (await other.getByRole("button", { name: "Sign out", exact: true }).count()) === 1);
    await other.getByRole("button", { name: "Sign out", exact: true }).click();
    const confirm = other.locator("dialog[open] input[name=password]");
    await until(async () => (await confirm.count()) === 1 || (await other.getByText("this one").count()) === 1);
    if (await confirm.count()) {
      await confirm.fill(PASSWORD);
      await other.keyboard.press("Enter");
    }
    await page.waitForSelector("h1 >> text=Sign in to FluxStudio"); // without a click there
    assert.deepEqual(other.troubles, []);
  }),
);

test(
  "one who forgot the password sets a new one by mail",
  play(async () => {
    const email = `orla.${Date.now()}@example.org`;
    const page = await visitor();
    await page.goto("/sign-up");
    await page.getByLabel("Name").fill("Orla");
    await page.getByLabel("E-mail").fill(email);
    await page.getByLabel("Password").fill(PASSWORD);
    await page.keyboard.press("Enter");
    await page.waitForSelector("text=A mail is on its way");
    const { link, subject } = await ask("mail", { to: email, about: "" });
    await page.goto(link);
    await page.getByRole("button", { name: "Confirm" }).click();
    await page.waitForSelector("h1 >> text=Projects");
    const other = await visitor();
    await other.goto("/forgot-password");
    await other.getByLabel("E-mail").fill(email);
    await other.keyboard.press("Enter");
    await other.waitForSelector("text=a mail is on its way");
    const reset = await until(async () => {
      const mail = await ask("mail", { to: email, about: "" });
      return mail.subject === subject ? null : mail;
    });
    assert.ok(reset.link.startsWith(addresses[0]));
    await other.goto(reset.link);
    await other.getByLabel("New password").fill(`${PASSWORD} again`);
    await other.keyboard.press("Enter");
    await other.getByRole("link", { name: "Sign in" }).click();
    await other.getByLabel("E-mail").fill(email);
    await other.getByLabel("Password").fill(`${PASSWORD} again`);
    await other.keyboard.press("Enter");
    await other.waitForSelector("h1 >> text=Projects");
  }),
);
