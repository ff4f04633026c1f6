/** What comes from others, made fit to be drawn: a board has to open whatever somebody has stored in it. */
import { restoreElements } from "@excalidraw/excalidraw";
import type { OrderedExcalidrawElement } from "@excalidraw/excalidraw/element/types";

const LINES = new Set(["line", "arrow", "freedraw"]);
const DOT = [
  [0, 0],
  [0, 0],
];

/** Returns the elements that can be drawn, each still the state that it says it is. */
export function fit(arriving: readonly OrderedExcalidrawElement[]): OrderedExcalidrawElement[] {
  return arriving.flatMap((element) => {
    try {
      const whole =
        LINES.has(element.type) && !Array.isArray((element as { points?: unknown }).points)
          ? { ...element, points: DOT }
          : element;
      // One by one: restoring many gives them new places in the order, and with that new versions.
      const [restored] = restoreElements([whole as OrderedExcalidrawElement], null);
      const { version, versionNonce, isDeleted } = element;
      if (restored) return [{ ...restored, version, versionNonce, isDeleted } as OrderedExcalidrawElement];
      return isDeleted ? [element] : []; // too small to be seen, as when a drawing begins
    } catch {
      return [];
    }
  });
}
