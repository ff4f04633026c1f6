/** A conversation's messages: pages of them in both directions, and what arrives. */
import { useInfiniteQuery, type InfiniteData } from "@tanstack/react-query";

import { api, data, type Schemas } from "../api/client";
import { queries } from "../query";

export type Message = Schemas["Message"];

interface Place {
  before?: number;
  after?: number;
  around?: number;
}

type Pages = InfiniteData<Schemas["MessagePage"], Place>;

/** Reads the newest messages, or those around one; older and newer ones as they are asked for. */
export function useMessages(project: number, around: number | null) {
  return useInfiniteQuery({
    queryKey: ["messages", project, around],
    queryFn: ({ pageParam }) =>
      data(
        api.GET("/api/projects/{project_id}/messages", { params: { path: { project_id: project }, query: pageParam } }),
      ),
    initialPageParam: (around === null ? {} : { around }) as Place,
    getNextPageParam: (page): Place | undefined => (page.next_before === null ? undefined : { before: page.next_before }),
    getPreviousPageParam: (page): Place | undefined => (page.next_after == null ? undefined : { after: page.next_after }),
  });
}

/** Puts a message where it belongs, once; not where the newest messages are not shown. */
export function add(project: number, message: Message): void {
  queries.setQueriesData<Pages>({ queryKey: ["messages", project] }, (known) => {
    const [first, ...older] = known?.pages ?? [];
    if (!known || !first || first.next_after != null) return known;
    if (known.pages.some((page) => page.messages.some((one) => one.id === message.id))) return known;
    const messages = [message, ...first.messages].sort((a, b) => b.id - a.id);
    return { ...known, pages: [{ ...first, messages }, ...older] };
  });
}

/** Returns when a message of one's own is in the list; reads it anew if it was not read yet, or is on its way without it. */
export async function settle(project: number, message: Message): Promise<void> {
  add(project, message);
  const shown = queries
    .getQueriesData<Pages>({ queryKey: ["messages", project] })
    .some(([, known]) => known?.pages.some((page) => page.messages.some((one) => one.id === message.id)));
  if (!shown) await queries.invalidateQueries({ queryKey: ["messages", project] });
  await new Promise((resolve) => setTimeout(resolve)); // whoever watches a query is told in the next turn
}
