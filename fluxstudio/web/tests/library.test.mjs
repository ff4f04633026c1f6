import assert from "node:assert/strict";
import { test } from "node:test";

import { add, kept, removeOne, shapes, there } from "./shapes.mjs";
import { addresses, ask, openBoard, play, until, visitor } from "./stage.mjs";

test(
  "a shape that one keeps is in the library of one's other browser, and is gone from both when one removes it",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    await openBoard(ada, world);
    await add(ada, 250, 150);
    await until(async () => (await there(ada)) === 1);
    const elsewhere = await visitor(1, world.people.Ada.token);
    await openBoard(elsewhere, world);
    await until(async () => (await shapes(elsewhere)) === 1);
    await add(elsewhere, 250, 300);
    await until(async () => (await there(elsewhere)) === 2);
    await ada.evaluate(() => document.dispatchEvent(new Event("visibilitychange"))); // she comes back to this tab
    await until(async () => (await shapes(ada)) === 2);
    await removeOne(ada);
    await until(async () => (await there(ada)) === 1);
    await elsewhere.reload();
    await elsewhere.waitForSelector(".board[data-ready=true]");
    await until(async () => (await shapes(elsewhere)) === 1);
    assert.equal(await there(elsewhere), 1);
    assert.deepEqual([...ada.troubles, ...elsewhere.troubles], []);
  }),
);

test(
  "what one adds and removes without a connection is kept over a reload, and arrives when it is back",
  play(async () => {
    const world = await ask("world");
    const key = `flux:library:u${world.people.Ada.id}`;
    const ada = await visitor(0, world.people.Ada.token);
    const elsewhere = await visitor(1, world.people.Ada.token);
    await Promise.all([openBoard(ada, world), openBoard(elsewhere, world)]);
    await add(ada, 250, 150);
    await until(async () => (await there(elsewhere)) === 1);
    await ask("line", { number: 0, open: false });
    try {
      await removeOne(ada);
      await add(ada, 250, 250);
      await add(ada, 250, 350);
      await until(async () => (await kept(ada, key)).items.length === 2);
      await add(elsewhere, 450, 150); // and meanwhile
      await until(async () => (await there(elsewhere)) === 2);
      await ada.goto("about:blank"); // the tab is gone, and with it all that was only in its memory
    } finally {
      await ask("line", { number: 0, open: true });
    }
    await openBoard(ada, world);
    await until(async () => (await there(elsewhere)) === 3);
    await until(async () => (await shapes(ada)) === 3);
  }),
);

test(
  "in one browser people do not see each other's libraries, nor put shapes into them",
  play(async () => {
    const world = await ask("world");
    const { Ada, Ben } = world.people;
    const page = await visitor(0, Ada.token);
    const become = (person) => page.context().addCookies([{ name: "flux", value: person.token, url: addresses[0] }]);
    await openBoard(page, world);
    await add(page, 250, 150);
    await until(async () => (await there(page)) === 1);
    await become(Ben); // in another tab; this one does not know yet
    const answer = page.waitForResponse((response) => response.request().method() === "PATCH");
    await add(page, 250, 300);
    assert.equal((await answer).status(), 409);
    assert.equal(await there(page), 0);
    await page.reload();
    await page.waitForSelector(".board[data-ready=true]");
    const asked = page.waitForResponse((response) => response.url().includes(`/api/me/library?account=${Ben.id}`));
    await page.reload();
    await asked;
    await page.waitForSelector(".board[data-ready=true]");
    assert.equal(await shapes(page), 0);
    await add(page, 450, 150);
    await until(async () => (await shapes(page)) === 1 && (await there(page)) === 1);
    await become(Ada);
    await page.reload();
    await page.waitForSelector(".board[data-ready=true]");
    await until(async () => (await there(page)) === 2); // hers that was refused, too
    await page.reload();
    await page.waitForSelector(".board[data-ready=true]");
    await until(async () => (await shapes(page)) === 2);
  }),
);
