import { CaptureUpdateAction, Excalidraw, reconcileElements } from "@excalidraw/excalidraw";
import "@excalidraw/excalidraw/index.css";
import type { OrderedExcalidrawElement } from "@excalidraw/excalidraw/element/types";
import type { ExcalidrawImperativeAPI } from "@excalidraw/excalidraw/types";
import { useEffect, useRef, useState } from "react";

import { Scene } from "./scene";

/** A board that is saved while one draws, and shows what others draw. */
export default function Board({ id, mayEdit }: { id: number; mayEdit: boolean }) {
  const [excalidraw, setExcalidraw] = useState<ExcalidrawImperativeAPI | null>(null);
  const scene = useRef<Scene | null>(null);
  useEffect(() => {
    if (excalidraw === null) return undefined;
    const opened = new Scene(id, {
      local: () => excalidraw.getSceneElementsIncludingDeleted(),
      show: (arriving) => {
        const merged = reconcileElements(
          excalidraw.getSceneElementsIncludingDeleted(),
          arriving as unknown as Parameters<typeof reconcileElements>[1],
          excalidraw.getAppState(),
        );
        excalidraw.updateScene({ elements: merged, captureUpdate: CaptureUpdateAction.NEVER });
      },
    });
    scene.current = opened;
    opened.open();
    return () => {
      scene.current = null;
      opened.close();
    };
  }, [excalidraw, id]);
  return (
    <div className="board">
      <Excalidraw
        excalidrawAPI={setExcalidraw}
        viewModeEnabled={!mayEdit}
        theme={window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"}
        onChange={(elements: readonly OrderedExcalidrawElement[]) => scene.current?.changed(elements)}
      />
    </div>
  );
}
