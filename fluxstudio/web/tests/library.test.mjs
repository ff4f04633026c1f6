import assert from "node:assert/strict";
import { test } from "node:test";

import { addresses, ask, draw, openBoard, play, until, visitor } from "./stage.mjs";

const canvas = ".excalidraw canvas.interactive";
const unit = ".library-unit__active:not(:has(.library-unit__adder))";

/** Draws something and puts it into the library. */
async function add(page, x, y) {
  await draw(page, x, y);
  const box = await page.locator(canvas).boundingBox();
  await page.mouse.click(box.x + x, box.y + y + 30); // on its edge: this one only
  await page.mouse.click(box.x + x, box.y + y + 30, { button: "right" });
  await page.locator(".context-menu").getByText("Add to library").click();
  await page.waitForSelector("text=Added to library");
  await page.keyboard.press("Escape");
}

async function openLibrary(page) {
  if ((await page.locator(".layer-ui__library").count()) > 0) return;
  await page.click("label.default-sidebar-trigger, .default-sidebar-trigger");
  await page.waitForSelector(".layer-ui__library");
}

/** Returns how many shapes the library shows. */
async function shapes(page) {
  await openLibrary(page);
  return page.locator(unit).count();
}

/** Removes the first shape. */
async function removeOne(page) {
  await openLibrary(page);
  await page.hover(unit);
  await page.locator(`${unit} .library-unit__checkbox`).first().click();
  await page.click(".library-menu-dropdown-container .dropdown-menu-button, .library-menu-dropdown-container button");
  await page.getByText("Remove", { exact: true }).click();
  await page.getByRole("button", { name: "Confirm" }).click();
}

/** Returns what the account has. */
async function there(page) {
  const { items } = await page.evaluate(async () => (await fetch("/api/me/library")).json());
  return items.length;
}

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

/** What this browser keeps under a key; with `value`, puts it there. */
function kept(page, key, value) {
  const work = ([name, given]) =>
    new Promise((resolve, reject) => {
      const opening = indexedDB.open("keyval-store");
      opening.onupgradeneeded = () => opening.result.createObjectStore("keyval");
      opening.onerror = () => reject(opening.error);
      opening.onsuccess = () => {
        const store = opening.result.transaction("keyval", "readwrite").objectStore("keyval");
        const asked = given === undefined ? store.get(name) : store.put(given, name);
        asked.onsuccess = () => resolve(asked.result ?? null);
        asked.onerror = () => reject(asked.error);
      };
    });
  return page.evaluate(work, [key, value]);
}

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

test(
  "a library from before is added to the account, also its shapes that are not refused",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    await ada.goto("/");
    const shape = (id, more) => ({
      id,
      status: "unpublished",
      created: 1,
      elements: [
        {
          ...{ id: `e${id}`, type: "rectangle", x: 0, y: 0, width: 80, height: 60, version: 1, versionNonce: 7 },
          ...{ seed: 1, strokeColor: "#1e1e1e", backgroundColor: "transparent", isDeleted: false, groupIds: [] },
          ...more,
        },
      ],
    });
    const old = [shape("one"), shape("evil", { link: "ftp://example.org/" }), shape("three")];
    await kept(ada, `flux:library:u${world.people.Ada.id}`, old);
    await openBoard(ada, world);
    await until(async () => (await there(ada)) === 2);
    await ada.waitForSelector("text=A shape of your library stays in this browser only: link must be http");
    await until(async () => (await shapes(ada)) === 3);
    const elsewhere = await visitor(1, world.people.Ada.token);
    await openBoard(elsewhere, world);
    await until(async () => (await shapes(elsewhere)) === 2);
  }),
);

test(
  "a guest's library is kept in the browser only",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    await openBoard(ada, world);
    const { token } = await ada.evaluate(async (board) => {
      const headers = { "content-type": "application/json" };
      const asked = await fetch(`/api/boards/${board}/links`, { method: "POST", headers, body: '{"may_edit": true}' });
      return asked.json();
    }, world.board);
    const guest = await visitor(1);
    const calls = [];
    guest.on("request", (request) => request.url().includes("/api/me") && calls.push(request.url()));
    await guest.goto(`/b#${token}`);
    await guest.waitForSelector(".board[data-ready=true]");
    await add(guest, 250, 150);
    await until(async () => (await kept(guest, "flux:library:guest"))?.items.length === 1);
    await guest.reload();
    await guest.waitForSelector(".board[data-ready=true]");
    await until(async () => (await shapes(guest)) === 1);
    assert.deepEqual(
      calls.filter((url) => url.includes("library")),
      [],
    );
  }),
);
