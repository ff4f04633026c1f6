import assert from "node:assert/strict";
import { test } from "node:test";

import { ask, openBoard, openSearch, play, until, visitor, write } from "./stage.mjs";

/** Opens one of the dialogs in the project's menu. */
async function choose(page, name) {
  await page.click("summary[aria-label='Menu of the project']");
  await page.getByRole("button", { name, exact: true }).click();
  await page.waitForSelector("dialog[open]");
}

test(
  "an owner invites an address without an account; its owner signs up with it, accepts, and is in",
  play(async () => {
    const world = await ask("world");
    const email = `noor.${Date.now()}@example.org`;
    const ada = await visitor(0, world.people.Ada.token);
    await openBoard(ada, world);
    await choose(ada, "Members");
    await ada.locator("dialog[open] input[name=email]").fill(email);
    await ada.keyboard.press("Enter");
    await ada.waitForSelector(`[aria-label=Invited] >> text=${email}`);
    const { text } = await ask("mail", { to: email, about: "invited" });
    assert.match(text, new RegExp(world.people.Ada.email.replaceAll(".", "\\.")));

    const noor = await visitor(1);
    await noor.goto("/sign-up");
    await noor.getByLabel("Name").fill("Noor");
    await noor.getByLabel("E-mail").fill(email);
    await noor.getByLabel("Password").fill("a long way to the harbour");
    await noor.keyboard.press("Enter");
    await noor.waitForSelector("text=A mail is on its way");
    const confirm = new URL((await ask("mail", { to: email, about: "Confirm" })).link);
    await noor.goto(confirm.pathname + confirm.hash);
    await noor.getByRole("button", { name: "Confirm" }).click();
    await noor.waitForSelector("[aria-label=Invitations] >> text=Harbour poster");
    await noor.getByRole("button", { name: "Accept" }).click();
    await noor.waitForSelector(".project h1 >> text=Harbour poster");
    await ada.waitForSelector("dialog[open] >> text=Noor");
    assert.deepEqual([...ada.troubles, ...noor.troubles], []);
  }),
);

test(
  "somebody one shares a project with is added to another by name",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    await ada.goto("/");
    await ada.click("text=New project");
    await ada.locator("dialog[open] input[name=title]").fill("Second one");
    await ada.keyboard.press("Enter");
    await ada.waitForSelector(".project h1 >> text=Second one");
    await choose(ada, "Members");
    await ada.locator("dialog[open] input[name=email]").fill("Zacharias");
    await ada.keyboard.press("Enter");
    await ada.waitForSelector("dialog[open] [role=alert] >> text=Nobody you share a project with");
    await ada.locator("dialog[open] input[name=email]").fill("ben");
    await ada.keyboard.press("Enter");
    await ada.waitForSelector("dialog[open] li >> text=Ben");
    const ben = await visitor(1, world.people.Ben.token);
    await ben.goto("/");
    await ben.waitForSelector(".tile >> text=Second one");
  }),
);

test(
  "an archived project is out of the way, nobody changes it, and it comes back",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    const ben = await visitor(1, world.people.Ben.token);
    await Promise.all([openBoard(ada, world), openBoard(ben, world)]);
    await choose(ada, "Project and public page");
    await ada.getByRole("button", { name: "Archive the project" }).click();
    await ben.waitForSelector("text=Nobody writes in an archived project."); // told, without a click
    await ada.waitForSelector(".archived");
    await ada.goto("/");
    await ada.getByRole("button", { name: "Archive" }).click();
    await ada.locator(".tile", { hasText: "Harbour poster" }).click();
    await ada.getByRole("button", { name: "Take it out" }).click();
    await ben.waitForSelector("textarea[aria-label=Message]");
    await ada.goto("/");
    await ada.waitForSelector(".tile >> text=Harbour poster");
  }),
);

test(
  "boards are put into folders, which everybody sees at once, and deleted, which is told",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    const ben = await visitor(1, world.people.Ben.token);
    await Promise.all([openBoard(ada, world), openBoard(ben, world)]);
    await ada.getByRole("button", { name: "New board" }).click();
    await ada.waitForSelector(".tabs a[aria-current] >> text=Board 2");
    await ben.waitForSelector(".tabs a >> text=Board 2");
    await choose(ada, "Rename or move the board");
    await ada.locator("dialog[open] input[name=title]").fill("Poster A2");
    await ada.locator("dialog[open] input[name=folder]").fill("Campaign / Print");
    await ada.keyboard.press("Enter");
    await ada.waitForSelector("summary[aria-label=Folders] >> text=Campaign / Print");
    await ben.click("summary[aria-label=Folders]");
    await ben.locator(".tree a", { hasText: "Poster A2" }).click();
    await ben.waitForSelector(".tabs a[aria-current] >> text=Poster A2");
    await ben.waitForSelector(".board[data-ready=true]");
    await choose(ada, "Delete the board");
    await ada.getByRole("button", { name: "Delete it" }).click();
    await ada.waitForSelector(".tabs a[aria-current] >> text=Sketches");
    await ben.waitForSelector("text=This board is gone");
    assert.deepEqual([...ada.troubles, ...ben.troubles], []);
  }),
);

test(
  "what is written on a board is found, and Enter opens the board",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    await ada.goto("/");
    await ada.waitForSelector(".tile");
    const element = { id: "t", type: "text", version: 1, versionNonce: 1, text: "A kingfisher over the quay" };
    await ada.evaluate(
      async ([board, elements]) => {
        const headers = { "content-type": "application/json" };
        await fetch(`/api/boards/${board}/elements`, { method: "POST", headers, body: JSON.stringify({ elements }) });
      },
      [world.board, [element]],
    );
    await openSearch(ada);
    await ada.keyboard.type("kingfisher");
    await ada.waitForSelector("[role=option] mark >> text=kingfisher");
    await ada.waitForSelector("[role=option] small >> text=board");
    await ada.keyboard.press("Enter");
    await ada.waitForURL(`**/projects/${world.project}/boards/${world.board}`);
  }),
);

test(
  "a message that was found is shown where it stands, marked, and one comes back to the newest",
  play(async () => {
    const world = await ask("world");
    const first = "Where did the walrus go?";
    await ask("talk", { project: world.project, user: world.people.Ben.id, count: 300, first });
    const ada = await visitor(0, world.people.Ada.token);
    await ada.goto("/");
    await ada.waitForSelector(".tile");
    await openSearch(ada);
    await ada.keyboard.type("walrus");
    await ada.waitForSelector("[role=option] mark >> text=walrus");
    await ada.keyboard.press("Enter");
    await ada.waitForURL("**?message=*");
    const found = ada.locator(".message[data-found=true]");
    await until(async () => (await found.textContent()).includes(first));
    const list = await ada.locator(".chat ol").boundingBox();
    await until(async () => {
      const box = await found.boundingBox();
      return box.y >= list.y && box.y + box.height <= list.y + list.height;
    });
    assert.equal(await ada.locator("text='Remark number 300'").count(), 0);
    await until(async () => {
      await ada.locator(".chat ol").evaluate((element) => (element.scrollTop = element.scrollHeight));
      return (await ada.locator("text='Remark number 300'").count()) === 1; // newer ones come as one scrolls
    });
    assert.equal(await ada.locator("text='Remark number 150'").count(), 1);
    await ada.getByRole("button", { name: "To the newest messages" }).click();
    await ada.waitForSelector("text='Remark number 300'");
    await until(async () => !(await found.count()));
    await write(ada, "Here it is");
    await ada.waitForSelector(".message:not(.unsent) >> text=Here it is");
    await ada.goto(`/projects/${world.project}?message=999999999`);
    await ada.waitForSelector(".toasts >> text=not there any more");
    await ada.waitForSelector("text='Here it is'");
  }),
);

test(
  "one sees what becomes of a message: waiting, sent, read by whom, or refused and sent after all",
  play(async () => {
    const world = await ask("world");
    const ada = await visitor(0, world.people.Ada.token);
    await openBoard(ada, world);
    await write(ada, "Anybody here?");
    await ada.waitForSelector(".message .state >> text=Sent");
    const ben = await visitor(1, world.people.Ben.token);
    await openBoard(ben, world);
    await ada.waitForSelector(".message .state >> text=Read by Ben");
    await ask("line", { number: 0, open: false });
    await write(ada, "From the tunnel");
    await ada.waitForSelector(".unsent .state >> text=Waiting for the connection");
    await ask("archive", { project: world.project, archived: true });
    await ask("line", { number: 0, open: true });
    await ada.waitForSelector(".unsent[data-failed=true] .state >> text=This project is archived");
    await ask("archive", { project: world.project, archived: false });
    await ada.getByRole("button", { name: "Try again" }).click();
    await ada.waitForSelector(".message:not(.unsent) >> text=From the tunnel");
    await ben.waitForSelector(".message >> text=From the tunnel");
    assert.equal(await ada.locator(".unsent").count(), 0);
  }),
);
