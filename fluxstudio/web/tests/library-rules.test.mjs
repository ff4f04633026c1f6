/** The rules by which a library stays one, without a browser: some cases, and many devices at random. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import ts from "typescript";

const source = await readFile(new URL("../src/board/library-rules.ts", import.meta.url), "utf8");
const { outputText } = ts.transpileModule(source, { compilerOptions: { module: "ESNext", target: "ES2022" } });
const rules = await import(`data:text/javascript,${encodeURIComponent(outputText)}`);

const NONE = new Map();
const shape = (id, status = "unpublished") => ({ id, status, created: 1, elements: [{ id: `e-${id}`, versionNonce: 1 }] });
const ids = (items) => items.map((item) => item.id);
const kept = (version, there, items) => ({
  version,
  there: Object.fromEntries(there.map((id) => [id, rules.mark(shape(id))])),
  items: items.map((id) => shape(id)),
});

/** The server, in a few lines: what it promises is tested in fluxstudio/tests/test_library.py. */
class Server {
  version = 0;
  rows = new Map();

  change({ since, put, remove }) {
    const next = this.version + 1;
    let changed = false;
    for (const id of remove) {
      const row = this.rows.get(id);
      if (row && row.item === null && row.at > since) continue;
      this.rows.set(id, { item: null, at: next });
      changed = true;
    }
    for (const item of put) {
      const row = this.rows.get(item.id);
      if (row && (row.item === null ? row.at > since : rules.mark(row.item) === rules.mark(item))) continue;
      this.rows.set(item.id, { item, at: next });
      changed = true;
    }
    if (changed) this.version = next;
    return this.tell(since, new Set(ids(put)));
  }

  tell(since, put = new Set()) {
    const rows = [...this.rows].filter(([, row]) => row.at > since);
    const items = rows.filter(([id, row]) => row.item && !(since > 0 && put.has(id))).map(([, row]) => row.item);
    const removed = rows.filter(([, row]) => !row.item).map(([id]) => id);
    return { version: this.version, since, items, removed };
  }
}

test("what was kept before libraries were kept with the account is added to it", () => {
  const old = rules.read([shape("mine")]);
  const asked = rules.answered(old, { since: 0, put: [], remove: [] }, { version: 3, since: 0, items: [shape("theirs")], removed: [] });
  assert.deepEqual(ids(asked.items), ["theirs", "mine"]);
  assert.deepEqual(ids(rules.outgoing(asked, NONE).put), ["mine"]);
  assert.equal(rules.outgoing(asked, NONE).since, 3);
});

test("what is removed here is removed there, also if nobody knows whether it had arrived", () => {
  const added = kept(4, ["a"], ["b", "a"]);
  const sent = rules.sending(added, rules.outgoing(added, NONE));
  const removed = rules.edited(sent, sent.items, [shape("a")]);
  assert.deepEqual(rules.outgoing(removed, NONE), { since: 4, put: [], remove: ["b"] });
});

test("what is removed elsewhere goes, and what was added or removed here meanwhile stays so", () => {
  const before = kept(4, ["a", "b"], ["mine", "a"]); // "b" is removed here, and not sent yet
  const answer = { version: 6, since: 4, items: [shape("b", "published"), shape("new")], removed: ["a"] };
  const after = rules.answered(before, { since: 4, put: [], remove: [] }, answer);
  assert.deepEqual(ids(after.items), ["new", "mine"]);
  assert.deepEqual(rules.outgoing(after, NONE).remove, ["b"]);
});

test("what is removed elsewhere while it is changed or added anew here stays", () => {
  const now = kept(4, ["a"], ["a"]);
  const changed = rules.edited(now, now.items, [shape("a", "published")]);
  const told = { version: 5, since: 4, items: [], removed: ["a"] };
  const after = rules.answered(changed, { since: 4, put: [], remove: [] }, told);
  assert.deepEqual(ids(rules.outgoing(after, NONE).put), ["a"]);
  const again = rules.answered(kept(4, ["a"], ["a"]), { since: 4, put: [], remove: ["a"] }, told);
  assert.deepEqual(ids(rules.outgoing(again, NONE).put), ["a"]);
});

test("a removal is sent also if the account has removed the shape, as long as an addition may be on its way", () => {
  const sent = { ...kept(4, [], []), there: { a: "" } };
  const after = rules.answered(sent, { since: 4, put: [], remove: [] }, { version: 5, since: 4, items: [], removed: ["a"] });
  assert.deepEqual(rules.outgoing(after, NONE), { since: 5, put: [], remove: ["a"] });
});

test("a list that was made from one that is out of date removes nothing", () => {
  const now = kept(4, ["a", "b"], ["a", "b"]);
  assert.deepEqual(ids(rules.edited(now, now.items, [shape("c"), shape("a")]).items), ["c", "a", "b"]);
  assert.deepEqual(ids(rules.edited(now, now.items, [shape("a")]).items), ["a"]);
});

test("an answer that is older than what another tab knows changes nothing", () => {
  const now = kept(9, ["a"], ["a"]);
  const late = { version: 7, since: 5, items: [], removed: ["a"] };
  assert.equal(rules.answered(now, { since: 5, put: [], remove: [] }, late), now);
});

test("a server that was put back to an older state is given what it has lost", () => {
  const now = kept(9, ["a", "b"], ["b", "a"]);
  const back = rules.answered(now, { since: 9, put: [], remove: [] }, { version: 2, since: 0, items: [shape("a")], removed: [] });
  assert.deepEqual(ids(back.items).sort(), ["a", "b"]);
  assert.deepEqual(ids(rules.outgoing(back, NONE).put), ["b"]);
});

test("devices that lose answers, send late and twice, end with the same: nothing lost, nothing back from the dead", () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    let state = seed;
    const chance = (n) => (state = (state * 48271) % 2147483647) % n;
    const server = new Server();
    const devices = Array.from({ length: 3 }, () => ({ kept: rules.read(undefined), late: [] }));
    const removed = new Set();
    const added = new Set();
    const edit = (device, id) => {
      const { items } = device.kept;
      if (chance(2) > 0 || items.length === 0) {
        added.add(id);
        device.kept = rules.edited(device.kept, items, [shape(id), ...items]);
      } else {
        const gone = items[chance(items.length)].id;
        removed.add(gone);
        device.kept = rules.edited(device.kept, items, items.filter((item) => item.id !== gone));
      }
    };
    const exchange = (device, lossy, step) => {
      if (device.kept.version === 0) {
        const nothing = { since: 0, put: [], remove: [] };
        device.kept = rules.answered(device.kept, nothing, server.tell(0));
      }
      const change = rules.outgoing(device.kept, NONE);
      if (rules.isNothing(change)) {
        const told = server.tell(change.since);
        if (!lossy || chance(3) > 0) device.kept = rules.answered(device.kept, change, told);
        return;
      }
      device.kept = rules.sending(device.kept, change);
      const fate = lossy ? chance(4) : 3;
      if (fate === 0) device.late.push(change); // it arrives later, and nobody waits for the answer
      else {
        const told = server.change(change);
        if (lossy && chance(2) > 0) edit(device, `m${step}`); // while it is on its way
        if (fate > 1) device.kept = rules.answered(device.kept, change, told); // else the answer is lost
      }
    };
    for (let step = 0; step < 60; step += 1) {
      const device = devices[chance(devices.length)];
      const what = chance(6);
      if (what < 2) edit(device, `s${step}`);
      else if (what === 2 && device.late.length > 0) server.change(device.late.shift());
      else exchange(device, true, step);
    }
    for (const device of devices) for (const change of device.late) server.change(change);
    for (let round = 0; round < 3; round += 1) for (const device of devices) exchange(device, false, 0);
    const expected = [...added].filter((id) => !removed.has(id)).sort();
    for (const device of devices) assert.deepEqual(ids(device.kept.items).sort(), expected, `seed ${seed}`);
    assert.deepEqual(ids(server.tell(0).items).sort(), expected, `seed ${seed}`);
  }
});
