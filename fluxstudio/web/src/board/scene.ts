/** Keeps one board's elements the same here and at the server: what changed here is sent, what changed there is shown. */
import type { OrderedExcalidrawElement } from "@excalidraw/excalidraw/element/types";

import { api, data, Problem } from "../api/client";
import { tell, tellProblem } from "../ui/toasts";

const SEND_AFTER_MS = 150;
const LOOK_EVERY_MS = 1500;
const MAX_BATCH = 500;

interface Canvas {
  local(): readonly OrderedExcalidrawElement[];
  show(arriving: readonly OrderedExcalidrawElement[]): void;
}

/** Which state of an element the server is known to have. */
type Mark = `${number}:${number}`;

function mark(element: OrderedExcalidrawElement): Mark {
  return `${element.version}:${element.versionNonce}`;
}

export class Scene {
  private version = 0;
  private readonly known = new Map<string, Mark>();
  private sender = 0;
  private looker = 0;
  private sending = false;
  private closed = false;

  constructor(
    private readonly board: number,
    private readonly canvas: Canvas,
  ) {}

  open(): void {
    void this.look();
  }

  close(): void {
    this.closed = true;
    window.clearTimeout(this.sender);
    window.clearTimeout(this.looker);
    void this.send();
  }

  /** Notices what was drawn here. */
  changed(elements: readonly OrderedExcalidrawElement[]): void {
    if (this.version === 0 && elements.length === 0) return;
    if (this.sender === 0 && this.unsent(elements).length > 0) {
      this.sender = window.setTimeout(() => {
        this.sender = 0;
        void this.send();
      }, SEND_AFTER_MS);
    }
  }

  private unsent(elements: readonly OrderedExcalidrawElement[]): OrderedExcalidrawElement[] {
    return elements.filter((element) => this.known.get(element.id) !== mark(element));
  }

  private async send(): Promise<void> {
    if (this.sending) return;
    const batch = this.unsent(this.canvas.local()).slice(0, MAX_BATCH);
    if (batch.length === 0) return;
    this.sending = true;
    try {
      await data(
        api.POST("/api/boards/{board_id}/elements", {
          params: { path: { board_id: this.board } },
          body: { elements: batch as unknown as Record<string, never>[] },
        }),
      );
      for (const element of batch) this.known.set(element.id, mark(element));
    } catch (error) {
      if (error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429) {
        for (const element of batch) this.known.set(element.id, mark(element));
        tell(`Your last change was not kept: ${error.detail}`);
      }
    } finally {
      this.sending = false;
    }
    if (!this.closed) this.changed(this.canvas.local());
  }

  private async look(): Promise<void> {
    try {
      const scene = await data(
        api.GET("/api/boards/{board_id}/scene", {
          params: { path: { board_id: this.board }, query: { since: this.version } },
        }),
      );
      if (this.closed) return;
      const arriving = scene.elements as unknown as readonly OrderedExcalidrawElement[];
      this.version = scene.version;
      for (const element of arriving) this.known.set(element.id, mark(element));
      if (arriving.length > 0) this.canvas.show(arriving);
      this.changed(this.canvas.local());
    } catch (error) {
      if (error instanceof Problem && error.status === 404) {
        tellProblem(error);
        return;
      }
    }
    if (!this.closed) this.looker = window.setTimeout(() => void this.look(), LOOK_EVERY_MS);
  }
}
