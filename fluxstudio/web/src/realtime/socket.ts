/** The one connection to the studio's realtime side: events, acknowledgements, and whether it stands. */
import { useEffect, useSyncExternalStore } from "react";
import { io, type Socket } from "socket.io-client";

import { Problem } from "../api/client";

export interface Person {
  readonly key: string;
  readonly name: string;
  readonly guest: boolean;
  readonly devices?: number;
}

/** What the server tells by itself. */
export interface Told {
  "message:new": { project_id: number; message: Record<string, unknown> };
  "message:typing": { project_id: number } & Person;
  "message:read": { project_id: number; user_id: number; message_id: number };
  "boards:changed": { project_id: number };
  "board:gone": { board_id: number };
  "board:changed": { board_id: number; version: number; elements: unknown[] };
  cursors: Record<string, Cursor>;
  presence: { board_id?: number; project_id?: number; known?: boolean; people?: Person[]; joined?: Person[]; left?: string[] };
  "access:lost": { board_id?: number; project_id?: number };
  "projects:changed": Record<string, never>;
  "project:changed": { project_id: number };
  "members:changed": { project_id: number };
}

export interface Cursor extends Person {
  readonly x: number;
  readonly y: number;
  readonly tool?: "pointer" | "laser";
  readonly button?: "up" | "down";
  readonly selected?: readonly string[];
}

export type State = "connecting" | "connected" | "away" | "refused";

const TIMEOUT_MS = 8_000;

let socket: Socket | null = null;
let state: State = "connecting";
let share: string | null = null;
const watchers = new Set<() => void>();

function become(next: State): void {
  state = next;
  for (const watcher of watchers) watcher();
}

/** Connects, as the signed-in user or as a guest with a link's token. Connecting again changes nothing. */
export function connect(token: string | null = null): Socket {
  if (socket !== null && share === token) return socket;
  disconnect();
  share = token;
  const made = io({
    transports: ["websocket", "polling"],
    auth: (give) => give(token === null ? {} : { share: token }),
    reconnectionDelay: 300,
    reconnectionDelayMax: 5_000,
    withCredentials: true,
  });
  made.on("connect", () => become("connected"));
  made.on("disconnect", (reason) => {
    become("away");
    // The server has closed it: after signing out elsewhere that is for good, after a restart it is not.
    if (reason === "io server disconnect") window.setTimeout(() => made.connect(), 1_000);
  });
  made.on("connect_error", (error) => {
    become(error.message === "not-signed-in" || error.message === "not-found" ? "refused" : "away");
    if (!made.active && state === "away") window.setTimeout(() => made.connect(), 2_000);
  });
  socket = made;
  return made;
}

export function disconnect(): void {
  socket?.disconnect();
  socket = null;
  become("connecting");
}

/** Sends an event and returns its acknowledgement. Throws a `Problem` where it is refused, or nobody answers. */
export async function ask<T>(event: string, data: Record<string, unknown>): Promise<T> {
  if (!socket?.connected) throw new Problem(0, "offline", "The studio can't be reached now.");
  let answer: { ok: boolean; status: number; code: string; detail: string; errors: Problem["errors"] };
  try {
    answer = await socket.timeout(TIMEOUT_MS).emitWithAck(event, data);
  } catch {
    throw new Problem(0, "offline", "The studio does not answer.");
  }
  if (!answer.ok) throw new Problem(answer.status, answer.code, answer.detail, answer.errors);
  return answer as unknown as T;
}

/** Sends what may be lost. */
export function mention(event: string, data: Record<string, unknown>): void {
  if (socket?.connected) socket.volatile.emit(event, data);
}

export function on<E extends keyof Told>(event: E, listener: (told: Told[E]) => void): () => void {
  const known = connect(share);
  known.on(event as string, listener as (told: unknown) => void);
  return () => known.off(event as string, listener as (told: unknown) => void);
}

/** Calls `join` now, if the connection stands, after each reconnect, and when the server has missed what to tell. */
export function joined(join: () => void): () => void {
  const known = connect(share);
  if (known.connected) join();
  known.on("connect", join);
  known.on("resync", join);
  return () => {
    known.off("connect", join);
    known.off("resync", join);
  };
}

function subscribe(watcher: () => void): () => void {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

export function useConnection(): State {
  return useSyncExternalStore(subscribe, () => state);
}

export function useTold<E extends keyof Told>(event: E, listener: (told: Told[E]) => void): void {
  useEffect(() => on(event, listener), [event, listener]);
}
