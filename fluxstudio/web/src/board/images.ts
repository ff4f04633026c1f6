/** Carries a board's images: what was put on it here goes to the studio, what others put on it comes from there. */
import type { BinaryFileData, BinaryFiles, DataURL } from "@excalidraw/excalidraw/types";
import type { FileId, OrderedExcalidrawElement } from "@excalidraw/excalidraw/element/types";
import { del, get, set } from "idb-keyval";

import { credentials, Problem, problemOf } from "../api/client";
import { tell } from "../ui/toasts";

const RETRY_MS = 2_000;
const TRIES = 20;
const MAX_BYTES = 10 * 2 ** 20;

export interface Pictures {
  files(): BinaryFiles;
  add(files: BinaryFileData[]): void;
}

export class Images {
  /** Files that are at the studio, or on their way there. */
  private readonly there = new Set<string>();
  private readonly fetching = new Set<string>();
  private closed = false;

  constructor(
    private readonly board: number,
    private readonly pictures: Pictures,
    private readonly mayEdit: boolean,
  ) {}

  close(): void {
    this.closed = true;
  }

  /** Looks which images of these elements are not here, or not at the studio. */
  look(elements: readonly OrderedExcalidrawElement[], files: BinaryFiles): void {
    for (const element of elements) {
      if (element.type !== "image" || element.isDeleted || element.fileId === null) continue;
      const id = element.fileId;
      if (this.there.has(id)) continue;
      const file = files[id];
      if (file !== undefined) {
        this.there.add(id);
        void this.upload(file);
      } else if (!this.fetching.has(id)) {
        this.fetching.add(id);
        void this.fetch(id).finally(() => this.fetching.delete(id));
      }
    }
  }

  private address(id: string): string {
    return `/api/boards/${this.board}/images/${encodeURIComponent(id)}`;
  }

  private place(id: string): string {
    return `flux:image:${this.board}:${id}`;
  }

  private async upload(file: BinaryFileData): Promise<void> {
    if (!this.mayEdit) return;
    await set(this.place(file.id), file).catch(() => undefined); // it outlives a reload until the studio has it
    try {
      const body = await acceptable(file);
      if (body.size > MAX_BYTES) throw new Problem(413, "too-large", "An image has 10 MB at most.");
      await this.ask(file.id, { method: "PUT", body });
      await del(this.place(file.id)).catch(() => undefined);
    } catch (error) {
      if (error instanceof Problem) {
        tell(`The image was not kept: ${error.detail}`);
        await del(this.place(file.id)).catch(() => undefined);
      }
    }
  }

  private async fetch(id: FileId): Promise<void> {
    const kept = await get<BinaryFileData>(this.place(id)).catch(() => undefined);
    if (kept !== undefined) {
      if (this.closed || this.there.has(id)) return;
      this.there.add(id);
      this.pictures.add([kept]);
      return this.upload(kept);
    }
    try {
      // Who has put it there may still be about to send it: elements are quicker.
      const response = await this.ask(id, {}, 404);
      if (this.there.has(id)) return; // it was on its way into this board, from here
      const blob = await response.blob();
      const dataURL = await asDataUrl(blob);
      const mimeType = blob.type as BinaryFileData["mimeType"];
      if (this.closed) return;
      this.there.add(id);
      this.pictures.add([{ id, dataURL, mimeType, created: Date.now() }]);
    } catch {
      // the next change looks again
    }
  }

  /** Asks until there is an answer for good. Throws a `Problem`. */
  private async ask(id: string, init: RequestInit, alsoWait = 0): Promise<Response> {
    for (let attempt = 1; ; attempt += 1) {
      let problem = new Problem(0, "offline", "The studio can't be reached.");
      try {
        const response = await fetch(this.address(id), { ...init, headers: credentials() });
        if (response.ok) return response;
        problem = await problemOf(response);
      } catch {
        // no answer
      }
      const again = problem.status === 0 || problem.status >= 500 || problem.status === 429 || problem.status === alsoWait;
      const mine = init.method === undefined && this.there.has(id);
      if (!again || mine || this.closed || attempt >= TRIES) throw problem;
      await new Promise((resolve) => setTimeout(resolve, (problem.retryAfterS ?? 0) * 1000 || RETRY_MS));
    }
  }
}

/** Returns a file that the studio takes. It takes no SVG, which can hold scripts: that becomes a PNG. */
async function acceptable(file: BinaryFileData): Promise<Blob> {
  if (file.mimeType !== "image/svg+xml") return (await fetch(file.dataURL)).blob();
  const image = new Image();
  image.src = file.dataURL;
  await image.decode();
  const scale = Math.min(4, 2048 / Math.max(image.naturalWidth, image.naturalHeight, 1));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), "image/png");
  });
}

function asDataUrl(blob: Blob): Promise<DataURL> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result as DataURL);
    reader.onerror = () => reject(reader.error ?? new Error("unreadable"));
    reader.readAsDataURL(blob);
  });
}
