/** Keeps one board's elements the same here and at the server.
 *
 * What was drawn here is sent until the server has acknowledged it; what is not acknowledged outlives a reload. What others
 * draw arrives as changes, each with the scene's next version. Where a version is missing for a while, what has changed
 * since the last one without a gap is read again. The merge does not care for order, so nothing has to wait.
 */
import { getSceneVersion } from "@excalidraw/excalidraw";
import type { OrderedExcalidrawElement } from "@excalidraw/excalidraw/element/types";
import { del, get, set } from "idb-keyval";

import { api, data, Problem } from "../api/client";
import { ask, joined, on, type Person } from "../realtime/socket";
import { tell, tellProblem } from "../ui/toasts";

const SEND_AFTER_MS = 60;
const RETRY_MS = 1_500;
const GAP_MS = 2_000;
const KEEP_AFTER_MS = 400;
const MAX_BATCH = 300;
const MAX_BY_SOCKET = 48_000;

export interface Canvas {
  local(): readonly OrderedExcalidrawElement[];
  show(arriving: readonly OrderedExcalidrawElement[]): void;
  people(people: readonly Person[]): void;
  lost(): void;
  /** The board is what the server has. */
  ready(): void;
}

interface Joined {
  scene: { version: number; elements: unknown[] };
  people: Person[];
}

interface Applied {
  readonly version: number;
  readonly accepted: readonly string[];
}

/** Which state of an element the server is known to have. */
type Mark = `${number}:${number}`;

function mark(element: { version: number; versionNonce: number }): Mark {
  return `${element.version}:${element.versionNonce}`;
}

export class Scene {
  private since = 0;
  private readonly ahead = new Set<number>();
  private readonly known = new Map<string, Mark>();
  /** What the canvas had, to notice what it has no more: opening a file and emptying the board delete without a trace. */
  private had = new Map<string, OrderedExcalidrawElement>();
  private latest: readonly OrderedExcalidrawElement[] = [];
  private lastVersion = -1;
  private loaded = false;
  private sending = false;
  private closed = false;
  private sender = 0;
  private keeper = 0;
  private mender = 0;
  private readonly ends: (() => void)[] = [];
  private readonly place: string;

  constructor(
    private readonly board: number,
    user: string,
    private readonly canvas: Canvas,
    private readonly mayEdit: boolean,
  ) {
    this.place = `flux:board:${user}:${board}`;
  }

  open(): void {
    this.ends.push(
      on("board:changed", (told) => {
        if (told.board_id === this.board) this.arrived(told.version, told.elements);
      }),
      on("board:gone", (told) => {
        if (told.board_id === this.board) this.canvas.lost();
      }),
      on("access:lost", (told) => {
        if (told.board_id === this.board || told.project_id !== undefined) void this.join();
      }),
      joined(() => void this.join()),
    );
    void this.bringBack();
  }

  close(): void {
    this.closed = true;
    for (const end of this.ends) end();
    for (const timer of [this.sender, this.keeper, this.mender]) window.clearTimeout(timer);
    void this.keep();
    ask("board:leave", { board_id: this.board }).catch(() => undefined);
  }

  /** Notices what was drawn here. */
  changed(elements: readonly OrderedExcalidrawElement[]): void {
    if (!this.closed) this.latest = elements;
    if (!this.mayEdit || !this.loaded) return;
    const version = getSceneVersion(elements) + elements.length;
    if (version === this.lastVersion) return; // a pointer that moved, a panel that opened
    this.lastVersion = version;
    this.buryMissing(elements);
    if (this.unsent(elements).length === 0) return;
    if (this.sender === 0) this.sender = window.setTimeout(() => void this.send(), SEND_AFTER_MS);
    if (this.keeper === 0) this.keeper = window.setTimeout(() => void this.keep(), KEEP_AFTER_MS);
  }

  private buryMissing(elements: readonly OrderedExcalidrawElement[]): void {
    const here = new Map(elements.map((element) => [element.id, element]));
    const gone = [...this.had.values()].filter((element) => !here.has(element.id) && !element.isDeleted);
    this.had = here;
    if (gone.length === 0) return;
    const versionNonce = Math.floor(Math.random() * 2 ** 31);
    this.canvas.show(gone.map((one) => ({ ...one, isDeleted: true, version: one.version + 1, versionNonce })));
  }

  private unsent(elements: readonly OrderedExcalidrawElement[]): OrderedExcalidrawElement[] {
    return elements.filter((element) => this.known.get(element.id) !== mark(element));
  }

  // -- what others draw ----------------------------------------------------------------------------------

  private async join(): Promise<void> {
    try {
      const told = await ask<Joined>("board:join", { board_id: this.board, since: this.since });
      if (this.closed) return;
      this.canvas.people(told.people);
      this.reached(told.scene.version);
      this.show(told.scene.elements);
      this.loaded = true;
      this.canvas.ready();
      this.lastVersion = -1;
      this.changed(this.canvas.local());
    } catch (error) {
      if (error instanceof Problem && error.status === 404) this.canvas.lost();
      else if (!this.closed) window.setTimeout(() => void this.join(), RETRY_MS);
    }
  }

  private show(elements: readonly unknown[]): void {
    const arriving = elements as readonly OrderedExcalidrawElement[];
    for (const element of arriving) this.known.set(element.id, mark(element));
    if (arriving.length > 0) this.canvas.show(arriving);
  }

  private arrived(version: number, elements: readonly unknown[]): void {
    this.show(elements);
    this.passed(version);
  }

  /** Everything up to this version is here. */
  private reached(version: number): void {
    this.since = version;
    for (const one of [...this.ahead]) if (one <= version) this.ahead.delete(one);
    this.close_ranks();
  }

  private passed(version: number): void {
    if (version > this.since) this.ahead.add(version);
    this.close_ranks();
  }

  private close_ranks(): void {
    while (this.ahead.delete(this.since + 1)) this.since += 1;
    window.clearTimeout(this.mender);
    if (this.ahead.size > 0 && !this.closed) this.mender = window.setTimeout(() => void this.join(), GAP_MS);
  }

  // -- what is drawn here --------------------------------------------------------------------------------

  private async send(): Promise<void> {
    this.sender = 0;
    if (this.sending || this.closed) return;
    // Copies: Excalidraw changes elements in place, also while these are on their way.
    const batch = this.unsent(this.canvas.local())
      .slice(0, MAX_BATCH)
      .map((element) => ({ ...element }));
    if (batch.length === 0) return;
    this.sending = true;
    let wait = 0;
    try {
      const { version, accepted } = await this.post(batch);
      for (const element of batch) this.known.set(element.id, mark(element));
      if (accepted.length > 0) this.passed(version); // else it is another's, and may not have arrived
    } catch (error) {
      wait = this.failed(error, batch);
    } finally {
      this.sending = false;
    }
    void this.keep();
    if (!this.closed && this.unsent(this.canvas.local()).length > 0) {
      this.sender = window.setTimeout(() => void this.send(), Math.max(wait, SEND_AFTER_MS));
    }
  }

  private async post(batch: readonly OrderedExcalidrawElement[]): Promise<Applied> {
    const elements = batch as unknown as Record<string, never>[];
    if (JSON.stringify(elements).length < MAX_BY_SOCKET) {
      return ask<Applied>("board:change", { board_id: this.board, elements });
    }
    const params = { path: { board_id: this.board } };
    return data(api.POST("/api/boards/{board_id}/elements", { params, body: { elements } }));
  }

  /** Returns how long to wait before the next attempt. What is refused for good is told, and not tried again. */
  private failed(error: unknown, batch: readonly OrderedExcalidrawElement[]): number {
    const final = error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429;
    if (!final) return RETRY_MS;
    if (batch.length > 1) {
      // One of them is refused: the others shall not suffer.
      void Promise.allSettled(batch.map((element) => this.alone(element)));
      return RETRY_MS;
    }
    for (const element of batch) this.known.set(element.id, mark(element));
    tell(`Your change was not kept: ${error.detail}`);
    if (error.status === 404) tellProblem(error);
    return SEND_AFTER_MS;
  }

  private async alone(element: OrderedExcalidrawElement): Promise<void> {
    try {
      await this.post([element]);
      this.known.set(element.id, mark(element));
    } catch (error) {
      this.failed(error, [element]);
    }
  }

  // -- over a reload -------------------------------------------------------------------------------------

  private async keep(): Promise<void> {
    this.keeper = 0;
    // A canvas that was taken off the screen has nothing any more.
    const unsent = this.loaded ? this.unsent(this.closed ? this.latest : this.canvas.local()) : [];
    try {
      if (unsent.length > 0) await set(this.place, unsent);
      else if (this.loaded) await del(this.place);
    } catch {
      // A browser in private mode keeps nothing; the tab still has it.
    }
  }

  private async bringBack(): Promise<void> {
    try {
      const kept = await get<OrderedExcalidrawElement[]>(this.place);
      if (kept && !this.closed) this.canvas.show(kept);
    } catch {
      // as above
    }
  }
}
