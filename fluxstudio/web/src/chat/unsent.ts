/** Messages that the server has not acknowledged. They outlive a reload, and are sent again until they are posted: their
 * ids make that harmless. One that is refused stays, with the reason, until it is tried again or thrown away. */
import { useEffect, useRef, useState } from "react";

import { Problem } from "../api/client";
import { ask } from "../realtime/socket";
import { useAccount } from "../session";
import { settle, type Message } from "./messages";

export interface Unsent {
  client_id: string;
  body: string;
  failed: string | null;
}

interface Outgoing {
  unsent: readonly Unsent[];
  send: (body: string) => void;
  retry: (one: Unsent) => void;
  discard: (one: Unsent) => void;
}

export function useUnsent(project: number): Outgoing {
  const user = useAccount()?.id ?? 0;
  const key = `flux:unsent:${user}:${project}`;
  const [unsent, setUnsent] = useState<readonly Unsent[]>(() => {
    try {
      return JSON.parse(localStorage.getItem(key) ?? "[]") as Unsent[];
    } catch {
      return [];
    }
  });
  const sending = useRef(false);
  useEffect(() => {
    if (unsent.length > 0) localStorage.setItem(key, JSON.stringify(unsent));
    else localStorage.removeItem(key);
  }, [key, unsent]);
  useEffect(() => {
    const next = unsent.find((one) => one.failed === null);
    if (!next || sending.current) return;
    let timer = 0;
    const attempt = async () => {
      sending.current = true;
      try {
        const { message } = await ask<{ message: Message }>("message:send", {
          project_id: project,
          body: next.body,
          client_id: next.client_id,
        });
        await settle(project, message);
        setUnsent((before) => before.filter((one) => one.client_id !== next.client_id));
      } catch (error) {
        const final = error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429;
        if (final) {
          const failed = `Not sent: ${error.detail}`;
          setUnsent((before) => before.map((one) => (one.client_id === next.client_id ? { ...one, failed } : one)));
        } else {
          const wait = error instanceof Problem ? (error.retryAfterS ?? 2) : 2;
          timer = window.setTimeout(() => setUnsent((before) => [...before]), wait * 1000);
        }
      } finally {
        sending.current = false;
      }
    };
    void attempt();
    return () => window.clearTimeout(timer);
  }, [unsent, project]);
  const change = (which: Unsent, to: Unsent | null) =>
    setUnsent((before) => before.flatMap((one) => (one.client_id !== which.client_id ? [one] : to ? [to] : [])));
  return {
    unsent,
    send: (body) => setUnsent((before) => [...before, { client_id: crypto.randomUUID(), body, failed: null }]),
    retry: (one) => change(one, { ...one, failed: null }),
    discard: (one) => change(one, null),
  };
}
