import { exportToSvg } from "@excalidraw/excalidraw";
import type { ExcalidrawElement, OrderedExcalidrawElement } from "@excalidraw/excalidraw/element/types";
import { useQuery } from "@tanstack/react-query";

import { api, data } from "../api/client";
import { fit } from "./arriving";

/** A picture of an older state of a board, without its images. */
export default function Preview({ board, revision }: { board: number; revision: number }) {
  const { data: picture } = useQuery({
    queryKey: ["revision", board, revision],
    queryFn: async () => {
      const params = { path: { board_id: board, revision_id: revision } };
      const elements = await data(api.GET("/api/boards/{board_id}/revisions/{revision_id}", { params }));
      const drawn = fit(elements as unknown as OrderedExcalidrawElement[]).filter((element) => !element.isDeleted);
      const svg = await exportToSvg({
        elements: drawn as Parameters<typeof exportToSvg>[0]["elements"] & ExcalidrawElement[],
        appState: { exportBackground: true, viewBackgroundColor: "#ffffff" },
        files: null,
        skipInliningFonts: true,
      });
      return `data:image/svg+xml;utf8,${encodeURIComponent(svg.outerHTML)}`;
    },
    staleTime: Number.POSITIVE_INFINITY,
  });
  return picture ? <img src={picture} alt="The board as it was" /> : null;
}
