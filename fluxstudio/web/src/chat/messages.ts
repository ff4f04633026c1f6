/** A conversation's messages: pages of them in both directions, and what arrives. */
import { useInfiniteQuery, type InfiniteData } from "@tanstack/react-query";
import { useCallback } from "react";

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
  const select = useCallback((known: Pages) => complete(project, known), [project]);
  return useInfiniteQuery({
    select,
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

const LATELY_MS = 60_000;

/** What was told or acknowledged a moment ago, by its project: a list that was on its way meanwhile may lack it. */
const lately = new Map<number, { message: Message; at: number }[]>();

/** Adds what a list lacks that was read before it was told, where that belongs; not where the newest are not shown. */
function complete(project: number, known: Pages): Pages {
  const [first, ...older] = known.pages;
  if (!first || first.next_after != null) return known;
  const shown = new Set(known.pages.flatMap((page) => page.messages.map((one) => one.id)));
  const last = known.pages.at(-1);
  const oldest = last?.next_before == null ? 0 : (last.messages.at(-1)?.id ?? 0);
  const missing = (lately.get(project) ?? [])
    .filter(({ message, at }) => Date.now() - at < LATELY_MS && message.id > oldest && !shown.has(message.id))
    .map(({ message }) => message);
  if (missing.length === 0) return known;
  const messages = [...missing, ...first.messages].sort((a, b) => b.id - a.id);
  return { ...known, pages: [{ ...first, messages }, ...older] };
}

/** Puts a message where it belongs, once. */
export function add(project: number, message: Message): void {
  const now = Date.now();
  const recent = (lately.get(project) ?? []).filter((one) => now - one.at < LATELY_MS && one.message.id !== message.id);
  lately.set(project, [...recent, { message, at: now }]);
  queries.setQueriesData<Pages>({ queryKey: ["messages", project] }, (known) => known && complete(project, known));
}

/** Reads messages anew: not content with a first answer that is on its way, and may have been made before this was asked. */
export async function refresh(project: number): Promise<void> {
  const queryKey = ["messages", project];
  const firsts = queries
    .getQueryCache()
    .findAll({ queryKey })
    .some(({ state }) => state.data === undefined && state.fetchStatus !== "idle");
  await queries.invalidateQueries({ queryKey });
  if (firsts) await queries.invalidateQueries({ queryKey });
}

/** Returns when a message of one's own is in the list, or was looked for in it. */
export async function settle(project: number, message: Message): Promise<void> {
  add(project, message);
  const shown = queries
    .getQueriesData<Pages>({ queryKey: ["messages", project] })
    .some(([, known]) => known?.pages.some((page) => page.messages.some((one) => one.id === message.id)));
  if (!shown) await refresh(project);
  await new Promise((resolve) => setTimeout(resolve)); // whoever watches a query is told in the next turn
}
