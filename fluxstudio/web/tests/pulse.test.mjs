import assert from "node:assert/strict";
import { test } from "node:test";

import { ask, play, until, visitor } from "./stage.mjs";

const numberOf = async (page, name) => parseFloat(await page.locator(`[data-number=${name}]`).textContent());

async function operator(world, name = "Ada") {
  await ask("operator", { user: world.people[name].id });
  const page = await visitor(0, world.people[name].token);
  await page.goto("/");
  await page.waitForSelector(".tile");
  await until(async () => (await page.evaluate(async () => (await fetch("/api/me")).json())).operator);
  await page.goto("/pulse");
  await page.waitForSelector(".chart path[d^=M]", { state: "attached" });
  return page;
}

test(
  "Pulse shows hits rise while people read, then the outage of Valkey, and its end",
  play(async () => {
    const world = await ask("world");
    const ada = await operator(world);
    const ben = await visitor(1, world.people.Ben.token); // on the other worker
    await ben.goto("/");
    await ben.waitForSelector(".tile");
    let [reading, away] = [true, false];
    const reader = (async () => {
      while (reading) {
        await ben.evaluate(async () => {
          for (let n = 0; n < 40; n += 1) await fetch("/api/projects");
        });
      }
    })();
    try {
      await until(async () => (await numberOf(ada, "saved")) > 5);
      await until(async () => (await numberOf(ada, "hit-rate")) > 80);
      assert.ok((await numberOf(ada, "requests")) > 5);
      assert.equal(await ada.locator(".table tbody >> text=ready").count(), 2);
      await ada.waitForSelector("[data-space=projects]");
      assert.equal(await ada.locator(".chart rect.away").count(), 0);

      await ask("kill-valkey");
      away = true;
      await ada.waitForSelector(".health[data-bad=true] >> text=Valkey is away");
      await ada.waitForSelector(".chart rect.away");
      assert.equal(await ben.evaluate(async () => (await fetch("/api/projects")).status), 200);
      await ask("start-valkey");
      away = false;
      await ada.waitForSelector(".health[data-bad=false] >> text=is well");
      await until(async () => (await ada.locator(".table tbody >> text=ready").count()) === 2);
    } finally {
      reading = false;
      await reader.catch(() => undefined);
      if (away) await ask("start-valkey");
    }
    assert.deepEqual(ada.troubles, []);
  }),
);

test(
  "an operator switches the cache off for their own clicks, and sees both sides beside each other",
  play(async () => {
    const world = await ask("world");
    const ada = await operator(world);
    await ada.getByRole("button", { name: "Click for me" }).click();
    await until(async () => Number(await ada.locator("[data-side=off]").getAttribute("data-ms")) > 0);
    await until(async () => Number(await ada.locator("[data-side=on]").getAttribute("data-ms")) > 0);
    await ada.getByRole("button", { name: "Click for me" }).waitFor();
    const side = async (name) => Number(await ada.locator(`[data-side=${name}]`).getAttribute("data-ms"));
    assert.ok((await side("on")) < (await side("off")), "with the cache the server is quicker");
    await ada.getByRole("switch").click();
    await ada.waitForSelector(".cache-off");
    await ada.getByRole("link", { name: "FluxStudio: your projects" }).click();
    await ada.locator(".tile").first().click();
    await ada.waitForSelector(".project h1");
    await ada.locator(".cache-off").click();
    await ada.waitForSelector(".last-clicks small >> text=cache off");
    await ada.getByRole("switch").click();
    await ada.waitForSelector(".cache-off", { state: "detached" });
  }),
);

test(
  "who is no operator sees neither Pulse nor a way to it",
  play(async () => {
    const world = await ask("world");
    const ben = await visitor(0, world.people.Ben.token);
    await ben.goto("/pulse");
    await ben.waitForSelector("h1 >> text=Pulse is for operators");
    await ben.click("summary[aria-label='Menu of Ben']");
    assert.equal(await ben.locator(".panel >> text=Pulse").count(), 0);
  }),
);
