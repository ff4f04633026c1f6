import assert from "node:assert/strict";
import { test } from "node:test";

import { ask, draw, elements, openBoard, play, until, visitor, write } from "./stage.mjs";

test(
  "two people on two workers see each other's presence, cursor, typing, message and drawing",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    const ben = await visitor(1, world.people.Ben.token);
    await Promise.all([openBoard(ada, world), openBoard(ben, world)]);
    await ada.waitForSelector(".people >> text=Ben");
    await ben.waitForSelector(".people >> text=Ada");

    await draw(ada, 300, 200);
    await until(async () => (await elements(ben)).some((one) => one.type === "rectangle"));

    const before = await ben.locator(".excalidraw canvas.interactive").screenshot();
    const box = await ada.locator(".excalidraw canvas.interactive").boundingBox();
    await until(async () => {
      await ada.mouse.move(box.x + 420 + Math.random() * 60, box.y + 330, { steps: 3 });
      return !before.equals(await ben.locator(".excalidraw canvas.interactive").screenshot());
    });

    await ada.locator("textarea[aria-label=Message]").pressSequentially("Hello");
    await ben.waitForSelector(".typing >> text=Ada is writing");
    await ada.press("textarea[aria-label=Message]", "Enter");
    await ben.waitForSelector(".message >> text=Hello");
    await write(ben, "Hello yourself");
    await ada.waitForSelector(".message >> text=Hello yourself");
    assert.deepEqual([...ada.troubles, ...ben.troubles], []);
  }),
);

test(
  "a worker dies while both draw: its people go on without a click, and both boards end equal",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    const ben = await visitor(1, world.people.Ben.token);
    await Promise.all([openBoard(ada, world), openBoard(ben, world)]);
    await Promise.all([draw(ada, 250, 150), draw(ben, 450, 150)]);
    await ask("kill-worker", { number: 0 });
    try {
      for (let row = 1; row < 4; row += 1) {
        await Promise.all([draw(ada, 250, 150 + row * 90), draw(ben, 450, 150 + row * 90)]);
      }
      await until(async () => {
        const [one, other] = await Promise.all([elements(ada), elements(ben)]);
        assert.equal(one.filter((element) => element.type === "rectangle").length, 8);
        assert.deepEqual(one, other);
        return true;
      });
      assert.equal(await ada.locator(".message.unsent").count(), 0);
    } finally {
      await ask("start-worker", { number: 0 });
    }
  }),
);

test(
  "Valkey is killed and comes back while people write: nothing is lost and nothing is there twice",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    const ben = await visitor(1, world.people.Ben.token);
    await Promise.all([openBoard(ada, world), openBoard(ben, world)]);
    await write(ada, "before the outage");
    await ben.waitForSelector(".message >> text=before the outage");
    await ask("kill-valkey");
    await write(ada, "Ada in the outage");
    await write(ben, "Ben in the outage");
    await ask("start-valkey");
    await write(ada, "after the outage");
    for (const page of [ada, ben]) {
      for (const text of ["before the outage", "Ada in the outage", "Ben in the outage", "after the outage"]) {
        await until(async () => (await page.locator(`.message:not(.unsent) >> text="${text}"`).count()) === 1);
      }
      await until(async () => (await page.locator(".message.unsent").count()) === 0);
    }
  }),
);
