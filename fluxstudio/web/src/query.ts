/** What was read is kept, also over a reload: a screen that was seen before opens without waiting. */
import { QueryClient, type Query } from "@tanstack/react-query";

import { Problem } from "./api/client";

const KEY = "flux:seen:2";
const MAX_BYTES = 1_000_000;

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      gcTime: 24 * 3600_000,
      retry: (count, error) => !(error instanceof Problem && error.status >= 400 && error.status < 500) && count < 3,
    },
  },
});

interface Kept {
  user: number;
  entries: { key: readonly unknown[]; data: unknown; at: number }[];
}

function worthKeeping(query: Query): boolean {
  return query.state.status === "success" && query.meta?.["keep"] === true;
}

/** Brings back what this user had seen; what another user had seen is forgotten. */
export function restore(user: number): void {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "null") as Kept | null;
    if (kept?.user !== user) {
      localStorage.removeItem(KEY);
      return;
    }
    for (const { key, data, at } of kept.entries) {
      if (queries.getQueryData(key) === undefined) queries.setQueryData(key, data, { updatedAt: at });
    }
  } catch {
    localStorage.removeItem(KEY);
  }
}

export function keep(user: number): void {
  const entries = queries
    .getQueryCache()
    .getAll()
    .filter(worthKeeping)
    .map((query) => ({ key: query.queryKey, data: query.state.data, at: query.state.dataUpdatedAt }));
  const text = JSON.stringify({ user, entries } satisfies Kept);
  if (text.length < MAX_BYTES) localStorage.setItem(KEY, text);
}

export function forget(): void {
  localStorage.removeItem(KEY);
  localStorage.removeItem("flux:me");
  queries.clear();
}
