import { useQuery } from "@tanstack/react-query";

import { api, data } from "../api/client";
import { useConnection } from "../realtime/socket";
import { Avatar } from "../ui/avatar";
import { clock, day } from "../ui/time";
import type { Message } from "./messages";
import type { Unsent } from "./unsent";

interface LineProps {
  message: Message;
  before: Message | undefined;
  isNew: boolean;
  isFound: boolean;
  /** What became of it; of the newest of one's own. */
  state: string | null;
}

export function Line({ message, before, isNew, isFound, state }: LineProps) {
  const sameDay = before && day(before.created_at) === day(message.created_at);
  const goesOn =
    sameDay &&
    before.author.id === message.author.id &&
    Date.parse(message.created_at) - Date.parse(before.created_at) < 300_000;
  return (
    <>
      {isNew ? <li className="new-from">New</li> : null}
      {sameDay ? null : <li className="day">{day(message.created_at)}</li>}
      <li
        className="message"
        data-goes-on={goesOn}
        data-found={isFound}
        aria-current={isFound ? "true" : undefined}
        id={`message-${message.id}`}
      >
        {goesOn ? null : (
          <header>
            <Avatar id={`u${message.author.id}`} name={message.author.name} />
            <strong>{message.author.name}</strong>
            <time dateTime={message.created_at}>{clock(message.created_at)}</time>
          </header>
        )}
        <p>{message.body}</p>
        {state ? <small className="state">{state}</small> : null}
      </li>
    </>
  );
}

interface UnsentProps {
  one: Unsent;
  retry: (one: Unsent) => void;
  discard: (one: Unsent) => void;
}

export function UnsentLine({ one, retry, discard }: UnsentProps) {
  const connection = useConnection();
  return (
    <li className="message unsent" data-failed={one.failed !== null}>
      <p>{one.body}</p>
      <small className="state">
        {one.failed ?? (connection === "connected" ? "Sending …" : "Waiting for the connection …")}
      </small>
      {one.failed === null ? null : (
        <span className="buttons start">
          <button type="button" className="quiet" onClick={() => retry(one)}>
            Try again
          </button>
          <button type="button" className="quiet danger" onClick={() => discard(one)}>
            Throw away
          </button>
        </span>
      )}
    </li>
  );
}

/** Says what became of the newest of one's own messages: sent, and who has read it. */
export function useDelivery(project: number, me: number, message: Message | undefined, read: Readonly<Record<string, number>>) {
  const { data: list } = useQuery({
    queryKey: ["members", project],
    queryFn: () => data(api.GET("/api/projects/{project_id}/members", { params: { path: { project_id: project } } })),
  });
  if (message === undefined) return null;
  const others = list?.members.filter((member) => member.id !== me) ?? [];
  const readers = others.filter((member) => (read[member.id] ?? 0) >= message.id);
  const [first, ...more] = readers.map((member) => member.name);
  if (first === undefined) return "Sent";
  if (readers.length === others.length && others.length > 1) return "Read by everybody";
  if (more.length === 0) return `Read by ${first}`;
  return more.length === 1 ? `Read by ${first} and ${more[0]}` : `Read by ${first} and ${more.length} others`;
}
