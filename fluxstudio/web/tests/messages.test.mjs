import assert from "node:assert/strict";
import { test } from "node:test";

import { ask, openBoard, play, until, visitor, write } from "./stage.mjs";

/** Holds the answers to readers of messages back, as they were when they were asked for. Returns how to let them go. */
async function hold(page) {
  const held = [];
  let open = false;
  await page.route(/\/api\/projects\/\d+\/messages/, async (route) => {
    if (open) return route.continue();
    const response = await route.fetch();
    held.push({ route, response });
  });
  return {
    has: (count) => until(() => held.length >= count),
    release: async () => {
      open = true;
      await Promise.all(held.splice(0).map(({ route, response }) => route.fulfill({ response })));
    },
  };
}

const shows = (page, text) => page.locator(`.message:not(.unsent) >> text="${text}"`).count();

for (const visit of ["first", "later"]) {
  test(
    `what is written while an older list of messages is on its way is shown, once: on a ${visit} visit`,
    play(async () => {
      const world = await ask("world");
      const ada = await visitor(0, world.people.Ada.token);
      const ben = await visitor(1, world.people.Ben.token);
      await openBoard(ben, world);
      if (visit === "later") await openBoard(ada, world);
      const list = await hold(ada);
      const told = [];
      ada.on("websocket", (socket) => {
        socket.on("framereceived", ({ payload }) => told.push(String(payload)));
      });
      if (visit === "first") await openBoard(ada, world);
      else {
        await ask("line", { number: 0, open: false });
        await ada.waitForSelector(".banner");
        await ask("line", { number: 0, open: true });
      }
      await list.has(1);
      await until(() => told.some((frame) => frame.includes('"read"'))); // she is in the room
      await write(ben, "Ben meanwhile");
      await until(() => told.some((frame) => frame.includes("Ben meanwhile")));
      await write(ada, "Ada meanwhile");
      await until(() => told.some((frame) => frame.includes("Ada meanwhile")));
      await list.release();
      for (const text of ["Ben meanwhile", "Ada meanwhile"]) {
        await until(async () => (await shows(ada, text)) === 1);
      }
      await ada.waitForTimeout(500); // for what would take it away again there is no event to wait for
      for (const text of ["Ben meanwhile", "Ada meanwhile"]) assert.equal(await shows(ada, text), 1);
      await until(async () => (await ada.locator(".message.unsent").count()) === 0);
      assert.deepEqual(ada.troubles, []);
    }),
  );
}

test(
  "who can't be let into the conversation at first hears of it all the same, soon",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    const ben = await visitor(1, world.people.Ben.token);
    let refused = 0;
    await ada.routeWebSocket(/socket\.io/, (here) => {
      const server = here.connectToServer();
      here.onMessage((message) => {
        const [, id] = /^42(\d+)\["project:join"/.exec(String(message)) ?? [];
        if (id === undefined || refused >= 2) return server.send(message);
        refused += 1;
        const answer = { ok: false, status: 503, code: "unavailable", detail: "Not now.", errors: [] };
        return here.send(`43${id}${JSON.stringify([answer])}`);
      });
    });
    await Promise.all([openBoard(ada, world), openBoard(ben, world)]);
    await until(() => refused === 2);
    await write(ben, "Are you there?");
    await ada.waitForSelector(".message >> text=Are you there?");
  }),
);
