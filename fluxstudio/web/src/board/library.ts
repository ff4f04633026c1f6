/** Keeps a user's library of shapes the same on this canvas, in this browser and with the account.
 *
 * A board opens with what this browser has. What changes is kept here at once, also over a reload, and sent when it can be;
 * what others have changed is asked for when a board opens, the connection is back, or somebody comes back to the tab.
 * Tabs share what is kept; each carries over what was done in it. A guest's library is kept in this browser only.
 */
import type { LibraryItem, LibraryItems } from "@excalidraw/excalidraw/types";
import { get, update } from "idb-keyval";

import { api, data, Problem, type Schemas } from "../api/client";
import { joined } from "../realtime/socket";
import { tell } from "../ui/toasts";
import { answered, edited, isNothing, mark, outgoing, read, sending, type Answer, type Change, type Kept } from "./library-rules";

const SEND_AFTER_MS = 400;
const RETRY_MS = 3_000;

/** Shows other shapes: what `next` makes of those that are shown. */
type Show = (next: (shown: LibraryItems) => LibraryItem[]) => Promise<void>;

export class Library {
  private readonly place: string;
  /** The account's id; null: nobody's. */
  private readonly account: number | null;
  private kept: Kept = read(undefined);
  /** What the canvas showed last. */
  private seen: LibraryItems | null = null;
  private showing = false;
  /** The canvas is gone: what it still tells of is nobody's doing. */
  private ended = false;
  private keeping = 0;
  private show: Show | null = null;
  private syncing = false;
  private again = false;
  private foreign = false;
  private timer = 0;
  private readonly refused = new Map<string, string>();
  /** So many shapes go at once: fewer and fewer, until the one that is refused is alone. */
  private most = Number.POSITIVE_INFINITY;

  constructor(user: string) {
    this.place = `flux:library:${user}`;
    this.account = /^u\d+$/.test(user) ? Number(user.slice(1)) : null;
  }

  /** Returns what this browser has, without asking anybody. */
  async open(): Promise<LibraryItems> {
    this.kept = read(await get<Kept | LibraryItems>(this.place).catch(() => undefined));
    return this.kept.items;
  }

  /** Begins to follow the account. Returns how to end it. */
  follow(show: Show): () => void {
    this.show = show;
    this.ended = false;
    const come = () => document.visibilityState === "visible" && void this.sync();
    document.addEventListener("visibilitychange", come);
    window.addEventListener("online", come);
    const leave = joined(() => void this.sync());
    void this.sync();
    return () => {
      document.removeEventListener("visibilitychange", come);
      window.removeEventListener("online", come);
      leave();
      window.clearTimeout(this.timer);
      this.show = null;
      this.ended = true;
      if (!isNothing(this.due())) void this.sync();
    };
  }

  /** Notices what the canvas shows now: what somebody did, or what it was told to show. */
  changed(items: LibraryItems): void {
    if (this.ended) return;
    const before = this.seen;
    this.seen = items;
    if (before !== null && !this.showing) this.notice(before, items);
  }

  private notice(before: LibraryItems, after: LibraryItems): void {
    if (edited(this.kept, before, after) === this.kept) return;
    this.keeping += 1;
    void this.amend((kept) => edited(kept, before, after)).then(() => {
      this.keeping -= 1;
      void this.reveal();
      if (this.show === null) void this.sync(); // the board was left
      else this.later(SEND_AFTER_MS);
    });
  }

  /** Changes what is kept, in one step for all tabs. A browser that keeps nothing has it in this tab. */
  private async amend(change: (kept: Kept) => Kept): Promise<void> {
    let changed = this.kept;
    try {
      await update<Kept | LibraryItems>(this.place, (stored) => (changed = change(read(stored))));
      this.kept = changed;
    } catch {
      this.kept = change(this.kept);
    }
  }

  /** Shows what is kept, if it is something else than what is shown. */
  private async reveal(): Promise<void> {
    if (this.show === null || this.seen === null || this.keeping > 0 || this.showing) return;
    const shown = this.seen.map((item) => `${item.id} ${mark(item)}`);
    const kept = this.kept.items.map((item) => `${item.id} ${mark(item)}`);
    if (shown.length === kept.length && shown.sort().join() === kept.sort().join()) return;
    this.showing = true; // until then the canvas tells of what it was told, as far as it can draw it
    try {
      await this.show((now) => {
        if (this.ended) return [...now];
        // Somebody may have opened a file of shapes meanwhile.
        if (this.seen !== null) this.notice(this.seen, now);
        return [...edited(this.kept, this.seen ?? now, now).items];
      });
    } finally {
      this.showing = false;
    }
  }

  // -- with the account ----------------------------------------------------------------------------------

  private later(ms: number): void {
    window.clearTimeout(this.timer);
    if (this.account !== null && this.show !== null) this.timer = window.setTimeout(() => void this.sync(), ms);
  }

  private due(): Change {
    const change = outgoing(this.kept, this.refused);
    return { ...change, put: change.put.slice(-this.most) };
  }

  /** Sends what there is to send, and takes in what others have changed. One at a time. */
  private async sync(): Promise<void> {
    if (this.account === null || this.foreign) return;
    if (this.syncing) {
      this.again = true;
      return;
    }
    this.syncing = true;
    window.clearTimeout(this.timer);
    try {
      do {
        this.again = false;
        await this.exchange(this.account);
      } while (this.again || (this.show !== null && !isNothing(this.due())));
    } catch (error) {
      this.failed(error);
    } finally {
      this.syncing = false;
    }
  }

  private async exchange(account: number): Promise<void> {
    await this.amend((kept) => kept); // what other tabs have done
    let change: Change = { since: this.kept.version, put: [], remove: [] };
    // Whoever knows nothing of the account asks first: what was removed there was removed without knowing of this.
    if (this.kept.version > 0) change = this.due();
    if (isNothing(change)) {
      const query = { account, since: change.since };
      const library = await data(api.GET("/api/me/library", { params: { query } }));
      await this.take(change, library);
      if (library.version > 0 || isNothing(this.due())) return;
      change = this.due(); // the first of the account's shapes
    }
    await this.amend((kept) => sending(kept, change));
    try {
      const body = { account, ...change } as unknown as Schemas["LibraryChange"];
      await this.take(change, await data(api.PATCH("/api/me/library", { body })));
      if (change.remove.length > 0) this.refused.clear(); // there may be room now
    } catch (error) {
      if (!isRefusal(error) || change.put.length === 0) throw error;
      this.refuse(error, change);
    }
  }

  private async take(change: Change, library: Schemas["Library"]): Promise<void> {
    await this.amend((kept) => answered(kept, change, library as unknown as Answer));
    await this.reveal();
  }

  /** A shape that is refused stays in this browser, which is told; the others shall not suffer. */
  private refuse(problem: Problem, change: Change): void {
    if (change.put.length > 1 && problem.code !== "library-full") {
      this.most = Math.ceil(change.put.length / 2);
      return;
    }
    this.most = Number.POSITIVE_INFINITY;
    for (const item of change.put) this.refused.set(item.id, mark(item));
    const what = change.put.length === 1 ? "A shape of your library stays" : `${change.put.length} shapes of your library stay`;
    tell(`${what} in this browser only: ${problem.errors[0]?.message ?? problem.detail}`);
  }

  /** Tries again, where that may help. */
  private failed(error: unknown): void {
    if (error instanceof Problem && error.code === "another-account") this.foreign = true;
    const ended = error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429;
    if (!ended) this.later(error instanceof Problem && error.retryAfterS !== null ? error.retryAfterS * 1000 : RETRY_MS);
  }
}

/** Whether what was sent will never be taken as it is. */
function isRefusal(error: unknown): error is Problem {
  return error instanceof Problem && ([413, 422].includes(error.status) || error.code === "library-full");
}
