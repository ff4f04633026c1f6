/** How a library of shapes that several tabs and devices change stays one. Pure.
 *
 * This browser keeps its shapes, and beside them what the account is known to have. Their difference is what there is to
 * send, now or in a week: a shape that is here and not there was added; one that is there and not here was removed. What
 * others have changed comes as changes since the version that is known. The server refuses additions of what was removed
 * after that version, so nothing that is sent late or twice comes back from the dead (`fluxstudio/library/service.py`).
 */
import type { LibraryItem } from "@excalidraw/excalidraw/types";

export const MAX_PUT = 200;
export const MAX_PUT_CHARS = 500_000;
export const MAX_REMOVE = 1000;

/** What distinguishes two states of a shape, whoever has normalised it. */
type Mark = string;

export interface Kept {
  /** The version of the account's library up to which its changes are known. */
  version: number;
  /** What the account has by then; "": what it may have, as it was sent and nothing was heard. */
  there: Readonly<Record<string, Mark>>;
  /** What is shown here, the newest first. */
  items: readonly LibraryItem[];
}

export interface Change {
  since: number;
  put: readonly LibraryItem[];
  remove: readonly string[];
}

export interface Answer {
  version: number;
  /** What these are the changes since; 0: this is all there is. */
  since: number;
  items: readonly LibraryItem[];
  removed: readonly string[];
}

export function mark(item: LibraryItem): Mark {
  const drawn = item.elements.map((element) => `${element.id}:${element.versionNonce}`).join(" ");
  return `${item.status} ${JSON.stringify(item.name ?? "")} ${drawn}`;
}

/** Reads what this browser has kept: nothing, a list from before libraries were kept with the account, or all of it. */
export function read(stored: Kept | readonly LibraryItem[] | undefined): Kept {
  if (stored === undefined) return { version: 0, there: {}, items: [] };
  return "items" in stored ? stored : { version: 0, there: {}, items: stored };
}

/** Carries over what somebody did to the shapes that a canvas showed.
 *
 * One action adds and changes shapes, or removes some. A list with more changes than that was made from one that was out of
 * date: what it lacks, nobody has removed.
 */
export function edited(kept: Kept, before: readonly LibraryItem[], after: readonly LibraryItem[]): Kept {
  const old = new Map(before.map((item) => [item.id, mark(item)]));
  const put = new Map(after.filter((item) => old.get(item.id) !== mark(item)).map((item) => [item.id, item]));
  const still = new Set(after.map((item) => item.id));
  const gone = put.size > 0 ? new Set<string>() : new Set(before.map((item) => item.id).filter((id) => !still.has(id)));
  if (put.size === 0 && gone.size === 0) return kept;
  const known = new Set(kept.items.map((item) => item.id));
  const added = [...put.values()].filter((item) => !known.has(item.id));
  const rest = kept.items.filter((item) => !gone.has(item.id)).map((item) => put.get(item.id) ?? item);
  return { ...kept, items: [...added, ...rest] };
}

/** Returns what there is to send, as much as goes at once; but not the shapes that were refused as they are. */
export function outgoing(kept: Kept, refused: ReadonlyMap<string, Mark>): Change {
  const here = new Set(kept.items.map((item) => item.id));
  const put: LibraryItem[] = [];
  let size = 0;
  for (const item of [...kept.items].reverse()) {
    const now = mark(item);
    if (kept.there[item.id] === now || refused.get(item.id) === now) continue;
    size += JSON.stringify(item).length;
    if (put.length === MAX_PUT || (put.length > 0 && size > MAX_PUT_CHARS)) break;
    put.unshift(item);
  }
  const remove = Object.keys(kept.there).filter((id) => !here.has(id));
  return { since: kept.version, put, remove: remove.slice(0, MAX_REMOVE) };
}

export function isNothing(change: Change): boolean {
  return change.put.length === 0 && change.remove.length === 0;
}

/** Notes that shapes are on their way: whoever removes one before the answer has to say so. */
export function sending(kept: Kept, change: Change): Kept {
  const there = { ...kept.there };
  for (const item of change.put) there[item.id] ??= "";
  return { ...kept, there };
}

/** Takes an answer in; `change` is what was sent, if anything was. What was done here meanwhile holds. */
export function answered(kept: Kept, change: Change, answer: Answer): Kept {
  if (change.since > answer.version) {
    // The server was put back to an older state: what it has lost is here, and is sent again.
    return answered({ ...kept, there: {}, version: 0 }, { ...change, since: 0, put: [] }, answer);
  }
  if (answer.version < kept.version) return kept; // another tab knows more already
  const whole = answer.since === 0;
  const items = new Map(kept.items.map((item) => [item.id, item]));
  const there: Record<string, Mark> = { ...kept.there };
  const put = new Map(change.put.map((item) => [item.id, mark(item)]));
  for (const [id, sent] of put) there[id] = sent;
  for (const id of change.remove) delete there[id];

  const listed = new Set(answer.items.map((item) => item.id));
  const missing = whole ? Object.keys(there).filter((id) => there[id] !== "" && !listed.has(id)) : [];
  for (const id of new Set([...answer.removed, ...missing])) {
    const item = items.get(id);
    const known = there[id];
    if (item === undefined && known === "") continue; // it may still arrive: it is removed here, which is to be sent
    delete there[id];
    if (item !== undefined && (known === "" || known === mark(item))) items.delete(id);
  }

  const arrived: LibraryItem[] = [];
  for (const item of answer.items) {
    const mine = items.get(item.id);
    const known = there[item.id];
    if (mine === undefined && known === undefined) arrived.push(item);
    else if (mine !== undefined && known === mark(mine)) items.set(item.id, item);
    there[item.id] = mark(item);
  }
  return { version: answer.version, there, items: [...arrived, ...items.values()] };
}
