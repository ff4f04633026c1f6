import assert from "node:assert/strict";
import { test } from "node:test";

import { faults } from "./axe.mjs";
import { ask, openBoard, openSearch, play, until, visitor, write } from "./stage.mjs";

for (const scheme of ["light", "dark"]) {
  test(
    `axe finds no serious fault on any screen: ${scheme}`,
    play(async () => {
      const world = await ask("world");
      const found = [];
      const nobody = await visitor(0, null, { colorScheme: scheme });
      for (const path of ["/sign-in", "/sign-up", "/forgot-password", "/reset-password#x", "/verify-email#x", "/change-email#x", "/b#x"]) {
        await nobody.goto(path);
        await nobody.waitForSelector("h1");
        found.push(...(await faults(nobody)));
      }
      const ada = await visitor(0, world.people.Ada.token, { colorScheme: scheme });
      await ada.goto("/");
      await ada.waitForSelector(".tile");
      found.push(...(await faults(ada)));
      await openSearch(ada);
      await ada.keyboard.type("lighthouse");
      await ada.waitForSelector("[role=option]");
      found.push(...(await faults(ada)));
      await ada.keyboard.press("Escape");
      await ada.goto("/account");
      await ada.waitForSelector("text=this one");
      found.push(...(await faults(ada)));
      await openBoard(ada, world);
      await ada.waitForSelector(".message");
      found.push(...(await faults(ada)));
      await ask("operator", { user: world.people.Ada.id });
      await until(async () => (await ada.evaluate(async () => (await fetch("/api/me")).json())).operator);
      await ada.goto("/pulse");
      await ada.waitForSelector(".chart path[d^=M]", { state: "attached" });
      await ada.getByRole("button", { name: "Click for me" }).click();
      await ada.waitForSelector(".last-clicks li");
      found.push(...(await faults(ada)));
      await openBoard(ada, world);
      for (const dialog of scheme === "light" ? ["Members", "Rename or move the board", "Delete the board", "Project and public page"] : []) {
        await ada.click("summary[aria-label='Menu of the project']");
        await ada.getByRole("button", { name: dialog, exact: true }).click();
        await ada.waitForSelector("dialog[open]");
        found.push(...(await faults(ada)));
        await ada.keyboard.press("Escape");
        await ada.waitForSelector("dialog[open]", { state: "detached" });
      }
      await ada.goto("/nowhere");
      await ada.waitForSelector("h1");
      found.push(...(await faults(ada)));
      await ada.goto(`/p/${world.slug}`);
      await ada.waitForSelector("h1");
      found.push(...(await faults(ada)));
      assert.deepEqual(found, []);
    }),
  );
}

test(
  "one searches with the keyboard alone, and comes to what was found",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    await ada.goto("/");
    await ada.waitForSelector(".tile");
    await openSearch(ada);
    await ada.keyboard.type("lighthouse");
    await until(async () => (await ada.locator("[role=option]").count()) >= 2);
    assert.ok((await ada.locator("[role=option] mark").first().textContent()).toLowerCase().startsWith("lighthouse"));
    await ada.keyboard.press("Escape");
    await ada.waitForSelector("dialog.palette", { state: "hidden" });
    await openSearch(ada);
    await ada.keyboard.type("lighthouse");
    await until(async () => (await ada.locator("[role=option]").count()) >= 2);
    await ada.keyboard.press("ArrowDown");
    await ada.keyboard.press("ArrowDown");
    await ada.keyboard.press("ArrowUp");
    await ada.waitForSelector("[role=option][aria-selected=true]#found-1");
    await ada.keyboard.press("Enter");
    await ada.waitForURL(`**/projects/${world.project}**`);
    await ada.waitForSelector(".project h1 >> text=Harbour poster");
  }),
);

test(
  "hostile markup in titles and messages is text, and a text of 5 MB is refused in words",
  play(async () => {
    const world = await ask("world");
    const hostile = `<img src=x onerror="window.taken=1"><script>window.taken=1</script>`;
    const ada = await visitor(0, world.people.Ada.token);
    await ada.goto("/");
    await ada.click("text=New project");
    await ada.locator("dialog[open] input[name=title]").fill(hostile);
    await ada.keyboard.press("Enter");
    await until(async () => (await ada.locator(".project h1").textContent()) === hostile);
    await write(ada, hostile);
    await until(async () => (await ada.locator(".message:not(.unsent) p").first().textContent()) === hostile);
    await ada.goto("/");
    await until(async () => (await ada.locator(".tile strong").first().textContent()) === hostile);
    assert.equal(await ada.evaluate(() => window.taken), undefined);

    await ada.goto(`/projects/${world.project}`);
    await ada.waitForSelector("textarea[aria-label=Message]");
    await ada.locator("textarea[aria-label=Message]").evaluate((area) => {
      const paste = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set;
      paste.call(area, "x".repeat(5_000_000));
      area.dispatchEvent(new Event("input", { bubbles: true }));
    });
    await ada.waitForSelector("text=4996000 characters too long");
    await ada.press("textarea[aria-label=Message]", "Enter");
    assert.equal(await ada.locator(".message.unsent").count(), 0);
    assert.equal((await ada.locator("textarea[aria-label=Message]").inputValue()).length, 5_000_000);
    assert.deepEqual(ada.troubles, []);
  }),
);

test(
  "who has no permission is told so, whatever address they open",
  play(async () => {
    const world = await ask("world");
    const dora = await visitor(0, world.people.Dora.token);
    for (const path of [`/projects/${world.project}`, `/projects/${world.project}/boards/${world.board}`]) {
      await dora.goto(path);
      await dora.waitForSelector("h1 >> text=There is no such project");
    }
    const cy = await visitor(0, world.people.Cy.token); // a viewer
    await openBoard(cy, world);
    await cy.waitForSelector("text=Viewers read along.");
  }),
);

test(
  "at the width of a phone nothing is wider than the screen",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token, { viewport: { width: 375, height: 740 }, hasTouch: true });
    await ask("operator", { user: world.people.Ada.id });
    for (const path of ["/", "/account", "/pulse", `/projects/${world.project}/boards/${world.board}`]) {
      await ada.goto(path);
      await ada.waitForSelector("h1");
      if (path === "/pulse") await ada.waitForSelector(".chart path[d^=M]", { state: "attached" });
      if (path.includes("boards")) await ada.waitForSelector(".board[data-ready=true]");
      assert.ok((await ada.evaluate(() => document.documentElement.scrollWidth)) <= 375, path);
    }
  }),
);
