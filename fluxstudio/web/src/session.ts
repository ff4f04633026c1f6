/** Who is signed in, as this browser remembers it: the cookie itself is none of JavaScript's business. */
import { useQuery } from "@tanstack/react-query";

import { api, data, Problem, type Schemas } from "./api/client";
import { forget, keep, queries, restore } from "./query";

export type Account = Schemas["Account"];

const REMEMBERED = "flux:me";

function remembered(): Account | undefined {
  try {
    const account = JSON.parse(localStorage.getItem(REMEMBERED) ?? "null") as Account | null;
    if (account !== null) restore(account.id);
    return account ?? undefined;
  } catch {
    return undefined;
  }
}

/** The account; `null`: nobody is signed in; `undefined`: not known yet. Known at once where it was known before. */
export function useAccount(): Account | null | undefined {
  const query = useQuery<Account | null>({
    queryKey: ["me"],
    queryFn: async () => {
      try {
        const account = await data(api.GET("/api/me"));
        localStorage.setItem(REMEMBERED, JSON.stringify(account));
        return account;
      } catch (error) {
        if (error instanceof Problem && error.status === 401) {
          localStorage.removeItem(REMEMBERED);
          return null;
        }
        throw error;
      }
    },
    initialData: remembered,
    initialDataUpdatedAt: 0,
    staleTime: 60_000,
  });
  return query.data;
}

export function signedIn(account: Account): void {
  restore(account.id);
  localStorage.setItem(REMEMBERED, JSON.stringify(account));
  queries.setQueryData(["me"], account);
}

export async function signOut(): Promise<void> {
  await api.POST("/api/sign-out");
  forget();
  queries.setQueryData(["me"], null);
}

/** Keeps what was seen whenever the page may go away. */
export function keepOnLeave(account: Account): () => void {
  const save = () => {
    if (document.visibilityState === "hidden") keep(account.id);
  };
  document.addEventListener("visibilitychange", save);
  window.addEventListener("pagehide", save);
  return () => {
    document.removeEventListener("visibilitychange", save);
    window.removeEventListener("pagehide", save);
  };
}
