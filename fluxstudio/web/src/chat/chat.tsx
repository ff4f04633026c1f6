import { useInfiniteQuery, type InfiniteData } from "@tanstack/react-query";
import { useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent } from "react";

import { api, data, Problem, type Schemas } from "../api/client";
import { queries } from "../query";
import { ask, mention, on } from "../realtime/socket";
import { useAccount } from "../session";
import { Avatar } from "../ui/avatar";
import { clock, day } from "../ui/time";

type Message = Schemas["Message"];

interface Unsent {
  client_id: string;
  body: string;
  failed: string | null;
}

const MAX = 4000;

/** A project's conversation: the newest at the bottom, older ones as one scrolls up. */
export function Chat({ project, mayWrite }: { project: number; mayWrite: boolean }) {
  const path = { project_id: project };
  const pages = useInfiniteQuery({
    queryKey: ["messages", project],
    queryFn: ({ pageParam }) =>
      data(
        api.GET("/api/projects/{project_id}/messages", {
          params: { path, query: pageParam === null ? {} : { before: pageParam } },
        }),
      ),
    initialPageParam: null as number | null,
    getNextPageParam: (page) => page.next_before,
  });
  const messages = pages.data?.pages.flatMap((page) => page.messages).reverse() ?? [];
  const newest = messages.at(-1)?.id;
  const firstNew = useFirstNew(project, messages);
  const [unsent, send] = useUnsent(project);
  const typing = useTyping(project);
  useEffect(
    () =>
      on("message:new", (told) => {
        if (told.project_id === project) add(project, told.message as unknown as Message);
      }),
    [project],
  );
  const list = useRef<HTMLOListElement>(null);
  const atEnd = useRef(true);

  useLayoutEffect(() => {
    if (atEnd.current && list.current) list.current.scrollTop = list.current.scrollHeight;
  }, [newest, unsent.length]);
  useEffect(() => {
    if (newest === undefined || document.visibilityState === "hidden") return;
    void api
      .PUT("/api/projects/{project_id}/read", { params: { path: { project_id: project } }, body: { message_id: newest } })
      .then(() => queries.invalidateQueries({ queryKey: ["projects"] }))
      .catch(() => undefined);
  }, [newest, project]);

  const onScroll = () => {
    const element = list.current;
    if (!element) return;
    atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
    if (element.scrollTop < 200 && pages.hasNextPage && !pages.isFetchingNextPage) {
      const before = element.scrollHeight;
      void pages.fetchNextPage().then(() => {
        requestAnimationFrame(() => {
          element.scrollTop += element.scrollHeight - before;
        });
      });
    }
  };
  const known = new Set(messages.map((message) => message.client_id));
  return (
    <aside className="chat" aria-label="Chat">
      <ol ref={list} onScroll={onScroll} tabIndex={0} aria-label="Messages">
        {messages.map((message, index) => (
          <Line key={message.id} message={message} before={messages[index - 1]} isNew={message.id === firstNew} />
        ))}
        {unsent
          .filter((one) => !known.has(one.client_id))
          .map((one) => (
            <li key={one.client_id} className="message unsent">
              <p>{one.body}</p>
              <small>{one.failed ?? "sending …"}</small>
            </li>
          ))}
      </ol>
      <p className="typing" aria-live="polite">
        {typing.length > 0 ? `${typing.join(", ")} ${typing.length === 1 ? "is" : "are"} writing …` : null}
      </p>
      {mayWrite ? <Composer project={project} send={send} /> : <p className="note">Viewers read along.</p>}
    </aside>
  );
}

type Pages = InfiniteData<Schemas["MessagePage"], number | null>;

/** Puts a message where it belongs, once. */
function add(project: number, message: Message): void {
  queries.setQueryData<Pages>(["messages", project], (known) => {
    const [first, ...older] = known?.pages ?? [];
    if (!known || !first || known.pages.some((page) => page.messages.some((one) => one.id === message.id))) return known;
    const messages = [message, ...first.messages].sort((a, b) => b.id - a.id);
    return { ...known, pages: [{ ...first, messages }, ...older] };
  });
}

/** The names of those who write right now. */
function useTyping(project: number): readonly string[] {
  const [names, setNames] = useState<ReadonlyMap<string, string>>(new Map());
  useEffect(() => {
    const timers = new Map<string, number>();
    const drop = (key: string) => setNames((before) => new Map([...before].filter(([one]) => one !== key)));
    const end = on("message:typing", (told) => {
      if (told.project_id !== project) return;
      window.clearTimeout(timers.get(told.key));
      timers.set(told.key, window.setTimeout(() => drop(told.key), 4_000));
      setNames((before) => new Map(before).set(told.key, told.name));
    });
    return () => {
      end();
      for (const timer of timers.values()) window.clearTimeout(timer);
    };
  }, [project]);
  return [...names.values()];
}

/** The first message that was unread when the conversation was opened, as the list of projects said. */
function useFirstNew(project: number, messages: readonly Message[]): number | null {
  const first = useRef<number | null | undefined>(undefined);
  if (first.current === undefined && messages.length > 0) {
    const list = queries.getQueryData<Schemas["ProjectList"]>(["projects"]);
    const unread = list?.projects.find((one) => one.id === project)?.unread ?? 0;
    first.current = unread > 0 ? (messages.at(-unread)?.id ?? null) : null;
  }
  return first.current ?? null;
}

interface LineProps {
  message: Message;
  before: Message | undefined;
  isNew: boolean;
}

function Line({ message, before, isNew }: LineProps) {
  const sameDay = before && day(before.created_at) === day(message.created_at);
  const goesOn =
    sameDay &&
    before.author.id === message.author.id &&
    Date.parse(message.created_at) - Date.parse(before.created_at) < 300_000;
  return (
    <>
      {isNew ? <li className="new-from">New</li> : null}
      {sameDay ? null : <li className="day">{day(message.created_at)}</li>}
      <li className="message" data-goes-on={goesOn} id={`message-${message.id}`}>
        {goesOn ? null : (
          <header>
            <Avatar id={`u${message.author.id}`} name={message.author.name} />
            <strong>{message.author.name}</strong>
            <time dateTime={message.created_at}>{clock(message.created_at)}</time>
          </header>
        )}
        <p>{message.body}</p>
      </li>
    </>
  );
}

function Composer({ project, send }: { project: number; send: (body: string) => void }) {
  const [text, setText] = useState("");
  const told = useRef(0);
  const write = (now: string) => {
    setText(now);
    if (now && Date.now() - told.current > 2_000) {
      told.current = Date.now();
      mention("message:typing", { project_id: project });
    }
  };
  const submit = () => {
    if (!text.trim() || text.length > MAX) return;
    send(text.trim());
    setText("");
  };
  const onKeyDown = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
      event.preventDefault();
      submit();
    }
  };
  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <textarea
        aria-label="Message"
        placeholder="Write a message"
        rows={Math.min(6, text.slice(0, MAX).split("\n").length)}
        value={text}
        onChange={(event) => write(event.target.value)}
        onKeyDown={onKeyDown}
      />
      <button type="submit" disabled={!text.trim() || text.length > MAX}>
        Send
      </button>
      {text.length > MAX ? (
        <small className="problem" role="alert">
          {text.length - MAX} characters too long: a message has {MAX} at most.
        </small>
      ) : null}
    </form>
  );
}

/** Messages that the server has not acknowledged. They outlive a reload, and are sent again until they are posted: their
 * ids make that harmless. One that is refused stays, with the reason. */
function useUnsent(project: number): [readonly Unsent[], (body: string) => void] {
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
        add(project, message);
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
  const send = (body: string) =>
    setUnsent((before) => [...before, { client_id: crypto.randomUUID(), body, failed: null }]);
  return [unsent, send];
}
