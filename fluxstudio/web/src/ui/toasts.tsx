import { useSyncExternalStore } from "react";

import { Problem } from "../api/client";

interface Toast {
  id: number;
  text: string;
}

let toasts: readonly Toast[] = [];
let last = 0;
const listeners = new Set<() => void>();

function set(next: readonly Toast[]): void {
  toasts = next;
  for (const listener of listeners) listener();
}

/** Tells something in passing, for eight seconds. */
export function tell(text: string): void {
  if (toasts.some((toast) => toast.text === text)) return;
  const id = ++last;
  set([...toasts.slice(-3), { id, text }]);
  setTimeout(() => set(toasts.filter((toast) => toast.id !== id)), 8_000);
}

export function tellProblem(error: unknown): void {
  tell(error instanceof Problem ? error.detail : "Something went wrong. Try again.");
}

/** Runs an action and tells its problem, if it has one. */
export async function attempt(action: () => Promise<unknown>): Promise<void> {
  try {
    await action();
  } catch (error) {
    tellProblem(error);
  }
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function Toasts() {
  const shown = useSyncExternalStore(subscribe, () => toasts);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {shown.map((toast) => (
        <p key={toast.id}>{toast.text}</p>
      ))}
    </div>
  );
}
