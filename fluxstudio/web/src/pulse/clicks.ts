/** How long one's own reads take, with the cache and without: kept while an operator looks at the demo's Pulse. */
import { useSyncExternalStore } from "react";

export type Cache = "on" | "off";

export interface Click {
  readonly path: string;
  /** Until the answer began, as this browser saw it, in ms. */
  readonly took: number;
  /** Of it in the server, in ms; `null`: it did not say. */
  readonly server: number | null;
  readonly cache: Cache;
}

const CHOICE = "flux:cache";
const MAX = 400;

let clicks: readonly Click[] = [];
const began = new WeakMap<Request, number>();
const watchers = new Set<() => void>();

/** What reads shall do; `null`: nothing is measured. */
export function choice(): Cache | null {
  const kept = sessionStorage.getItem(CHOICE);
  return kept === "on" || kept === "off" ? kept : null;
}

export function choose(cache: Cache | null): void {
  if (cache === null) sessionStorage.removeItem(CHOICE);
  else sessionStorage.setItem(CHOICE, cache);
  tell();
}

export function forgetClicks(): void {
  clicks = [];
  tell();
}

/** Before a request leaves: says what it shall do, if it is one that is measured. */
export function mark(request: Request): void {
  const cache = choice();
  if (cache === null || request.method !== "GET" || request.url.endsWith("/api/pulse")) return;
  if (!request.headers.has("x-flux-cache")) request.headers.set("x-flux-cache", cache);
  if (request.headers.get("x-flux-cache") === "off") request.headers.set("cache-control", "no-store");
  began.set(request, performance.now());
}

/** When its answer has come. */
export function note(request: Request, response: Response): void {
  const start = began.get(request);
  const timing = response.headers.get("server-timing");
  if (start === undefined || timing === null || !response.ok) return; // the server has not heard of it: no operator
  const server = /\bapp;dur=([\d.]+)/.exec(timing)?.[1];
  const click: Click = {
    path: new URL(request.url).pathname,
    took: performance.now() - start,
    server: server === undefined ? null : Number(server),
    cache: request.headers.get("x-flux-cache") === "off" ? "off" : "on",
  };
  clicks = [...clicks.slice(1 - MAX), click];
  tell();
}

function tell(): void {
  for (const watcher of watchers) watcher();
}

function subscribe(watcher: () => void): () => void {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

export function useClicks(): readonly Click[] {
  return useSyncExternalStore(subscribe, () => clicks);
}

export function useChoice(): Cache | null {
  return useSyncExternalStore(subscribe, choice);
}
