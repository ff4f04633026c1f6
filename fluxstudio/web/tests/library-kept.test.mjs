import assert from "node:assert/strict";
import { test } from "node:test";

import { add, kept, shapes, there } from "./shapes.mjs";
import { ask, openBoard, play, until, visitor } from "./stage.mjs";

test(
  "a library that this browser had is added to the account; a shape that is refused stays here, which is told",
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
