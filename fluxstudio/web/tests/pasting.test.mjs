import assert from "node:assert/strict";
import { test } from "node:test";

import { ask, draw, elements, openBoard, play, until, visitor } from "./stage.mjs";

const canvas = ".excalidraw canvas.interactive";
const LARGE = 5 * 2 ** 20;

/** Puts 5 MB of text into the clipboard. */
function copyLargeText(page, line) {
  return page.evaluate(([text, size]) => navigator.clipboard.writeText(text.repeat(size / text.length)), [line, LARGE]);
}

test(
  "an SVG that one drops on a board is drawn into a PNG, and nothing in it runs",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    const ben = await visitor(1, world.people.Ben.token);
    await Promise.all([openBoard(ada, world), openBoard(ben, world)]);
    const sent = ada.waitForRequest((request) => request.method() === "PUT" && request.url().includes("/images/"));
    const arrived = ben.waitForResponse((response) => response.status() === 200 && response.url().includes("/images/"));
    const transfer = await ada.evaluateHandle(() => {
      const drawing = `<svg xmlns="http://www.w3.org/2000/svg" width="120" height="90" onload="window.ran = true">
        <script>window.ran = true</script><rect width="120" height="90" fill="teal"/></svg>`;
      const data = new DataTransfer();
      data.items.add(new File([drawing], "teal.svg", { type: "image/svg+xml" }));
      return data;
    });
    await ada.dispatchEvent(canvas, "drop", { dataTransfer: transfer, clientX: 500, clientY: 400 });
    const request = await sent;
    assert.equal((await request.response()).status(), 200);
    const kept = await arrived;
    assert.equal(kept.headers()["content-type"], "image/png");
    const colour = await ben.evaluate(async (url) => {
      const picture = await createImageBitmap(await (await fetch(url)).blob());
      const drawn = new OffscreenCanvas(1, 1).getContext("2d");
      drawn.drawImage(picture, 0, 0, 1, 1);
      return [...drawn.getImageData(0, 0, 1, 1).data];
    }, kept.url());
    assert.deepEqual(colour, [0, 128, 128, 255]);
    await until(async () => (await elements(ben)).some((one) => one.type === "image"));
    for (const page of [ada, ben]) assert.equal(await page.evaluate(() => window.ran), undefined);
  }),
);

test(
  "5 MB of text pasted into the chat is not sent, which is said, and one can go on",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    await openBoard(ada, world);
    await copyLargeText(ada, "the harbour ");
    const field = ada.locator("textarea[aria-label=Message]");
    await field.click();
    await ada.keyboard.press("Control+v");
    await ada.waitForSelector("text=/\\d+ characters too long: a message has 4000 at most/");
    await ada.keyboard.press("Enter");
    assert.ok(await ada.getByRole("button", { name: "Send" }).isDisabled());
    assert.ok((await field.inputValue()).length > 5_000_000); // nothing of it is lost
    await field.fill("the harbour, in short");
    await ada.keyboard.press("Enter");
    await ada.waitForSelector(".message:not(.unsent) >> text=the harbour, in short");
    assert.equal(await ada.locator(".message", { hasText: "the harbour the harbour" }).count(), 0);
    assert.deepEqual(ada.troubles, []);
  }),
);

test(
  "5 MB of text pasted onto a board is refused, which is said, and what was drawn stays and goes on",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    const ben = await visitor(1, world.people.Ben.token);
    await Promise.all([openBoard(ada, world), openBoard(ben, world)]);
    await draw(ada, 250, 150);
    for (const line of ["the harbour ", "the harbour\n"]) {
      await copyLargeText(ada, line);
      await ada.hover(canvas, { position: { x: 400, y: 400 } });
      await ada.keyboard.press("Control+v");
      await ada.waitForSelector("text=This text is too long for a board");
    }
    await ada.evaluate(() => navigator.clipboard.writeText("a short one"));
    await ada.keyboard.press("Control+v");
    await until(async () => (await elements(ben)).some((one) => one.text === "a short one"));
    await draw(ada, 450, 150);
    await until(async () => (await elements(ben)).filter((one) => one.type === "rectangle").length === 2);
    assert.ok(!(await elements(ada)).some((one) => one.text?.includes("harbour")));
    assert.deepEqual(ada.troubles, []);
  }),
);
