import { useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent } from "react";

import { api, Problem, type Schemas } from "../api/client";
import { queries } from "../query";
import { mention, on } from "../realtime/socket";
import { tell } from "../ui/toasts";
import { Line, UnsentLine, useDelivery } from "./line";
import { add, useMessages, type Message } from "./messages";
import { useUnsent } from "./unsent";

const MAX = 4000;

interface Props {
  project: number;
  me: number;
  mayWrite: boolean;
  /** Why nobody may write, if that is so. */
  note: string;
  /** Up to which message each member has read. */
  read: Readonly<Record<string, number>>;
  /** A message to begin at, as the search found it; else the newest. */
  around: number | null;
  toNewest: () => void;
}

/** A project's conversation: the newest at the bottom, older ones as one scrolls up. */
export function Chat({ project, me, mayWrite, note, read, around, toNewest }: Props) {
  const pages = useMessages(project, around);
  const messages = pages.data?.pages.flatMap((page) => page.messages).reverse() ?? [];
  const newest = messages.at(-1)?.id;
  const firstNew = useFirstNew(project, messages, around === null);
  const { unsent, send, retry, discard } = useUnsent(project);
  const typing = useTyping(project);
  const mine = messages.findLast((message) => message.author.id === me);
  const delivery = useDelivery(project, me, mine, read);
  useEffect(
    () =>
      on("message:new", (told) => {
        if (told.project_id === project) add(project, told.message as unknown as Message);
      }),
    [project],
  );
  const list = useRef<HTMLOListElement>(null);
  const atEnd = useRef(around === null);
  const shown = useRef<number | null>(null);

  useLayoutEffect(() => {
    if (around === shown.current) return;
    if (around === null) {
      shown.current = null;
      atEnd.current = true;
    } else if (newest !== undefined) {
      shown.current = around;
      atEnd.current = false;
      document.getElementById(`message-${around}`)?.scrollIntoView({ block: "center" });
    }
  }, [around, newest]);
  useLayoutEffect(() => {
    if (atEnd.current && list.current) list.current.scrollTop = list.current.scrollHeight;
  }, [newest, unsent.length, around, delivery]);
  const gone = around !== null && pages.error instanceof Problem && pages.error.status === 404;
  useEffect(() => {
    if (!gone) return;
    tell("This message is not there any more.");
    toNewest();
  }, [gone, toNewest]);
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
    const below = element.scrollHeight - element.scrollTop - element.clientHeight;
    atEnd.current = below < 40 && !pages.hasPreviousPage;
    if (below < 200 && pages.hasPreviousPage && !pages.isFetching) void pages.fetchPreviousPage();
    if (element.scrollTop < 200 && pages.hasNextPage && !pages.isFetching) {
      const before = element.scrollHeight;
      void pages.fetchNextPage().then(() => {
        requestAnimationFrame(() => {
          element.scrollTop += element.scrollHeight - before;
        });
      });
    }
  };
  const write = (body: string) => {
    send(body);
    if (around !== null) toNewest();
    atEnd.current = true;
  };
  const known = new Set(messages.map((message) => message.client_id));
  return (
    <aside className="chat" aria-label="Chat">
      <ol ref={list} onScroll={onScroll} tabIndex={0} aria-label="Messages">
        {messages.map((message, index) => (
          <Line
            key={message.id}
            message={message}
            before={messages[index - 1]}
            isNew={message.id === firstNew}
            isFound={message.id === around}
            state={message === mine && !pages.hasPreviousPage ? delivery : null}
          />
        ))}
        {unsent
          .filter((one) => !known.has(one.client_id))
          .map((one) => (
            <UnsentLine key={one.client_id} one={one} retry={retry} discard={discard} />
          ))}
      </ol>
      {around === null ? null : (
        <button type="button" className="quiet to-newest" onClick={toNewest}>
          To the newest messages
        </button>
      )}
      <p className="typing" aria-live="polite">
        {typing.length > 0 ? `${typing.join(", ")} ${typing.length === 1 ? "is" : "are"} writing …` : null}
      </p>
      {mayWrite ? <Composer project={project} send={write} /> : <p className="note">{note}</p>}
    </aside>
  );
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
function useFirstNew(project: number, messages: readonly Message[], atNewest: boolean): number | null {
  const first = useRef<number | null | undefined>(undefined);
  if (!atNewest) return null;
  if (first.current === undefined && messages.length > 0) {
    const list = queries.getQueryData<Schemas["ProjectList"]>(["projects"]);
    const unread = list?.projects.find((one) => one.id === project)?.unread ?? 0;
    first.current = unread > 0 ? (messages.at(-unread)?.id ?? null) : null;
  }
  return first.current ?? null;
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
