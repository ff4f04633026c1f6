import { useQuery } from "@tanstack/react-query";
import { useDeferredValue, useEffect, useRef, useState, type KeyboardEvent } from "react";
import { useLocation } from "wouter";

import { api, data, type Schemas } from "../api/client";
import { useSearchOpen } from "../ui/palette";

/** The search over everything: opened by Ctrl-K, moved through by the arrows, entered by Enter. */
export default function Search() {
  const [open, setOpen] = useSearchOpen();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <dialog ref={dialog} className="palette" aria-label="Search" onClose={() => setOpen(false)}>
      {open ? <Results close={() => setOpen(false)} /> : null}
    </dialog>
  );
}

function Results({ close }: { close: () => void }) {
  const [, go] = useLocation();
  const [text, setText] = useState("");
  const [chosen, setChosen] = useState(0);
  const q = useDeferredValue(text.trim());
  const { data: found, isFetching } = useQuery({
    queryKey: ["search", q],
    queryFn: ({ signal }) => data(api.GET("/api/search", { params: { query: { q } }, signal })),
    enabled: q.length > 0,
    placeholderData: (before) => before,
  });
  const results = q ? (found?.results ?? []) : [];
  const enter = (one: Schemas["Found"] | undefined) => {
    if (!one) return;
    close();
    const inside = one.board_id ? `/boards/${one.board_id}` : one.message_id ? `?message=${one.message_id}` : "";
    go(`/projects/${one.project_id}${inside}`);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && results.length > 0) {
      event.preventDefault();
      setChosen((chosen + step + results.length) % results.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      enter(results[chosen]);
    } else if (event.key === "Escape") {
      event.preventDefault(); // it would only empty the field
      close();
    }
  };
  return (
    <div onKeyDown={onKeyDown}>
      <input
        type="search"
        role="combobox"
        aria-label="Search projects, messages and boards"
        aria-expanded={results.length > 0}
        aria-controls="found"
        aria-activedescendant={results.length > 0 ? `found-${chosen}` : undefined}
        placeholder="Search projects, messages and boards"
        value={text}
        maxLength={200}
        autoFocus
        onChange={(event) => {
          setText(event.target.value);
          setChosen(0);
        }}
      />
      <ul id="found" role="listbox" aria-label="Results" aria-busy={isFetching}>
        {results.map((one, index) => (
          <li
            key={`${one.kind}:${one.message_id ?? one.board_id ?? one.project_id}`}
            id={`found-${index}`}
            role="option"
            aria-selected={index === chosen}
            onMouseMove={() => setChosen(index)}
            onClick={() => enter(one)}
          >
            <span className="line">
              <Marked segments={one.board_title ?? one.title} />
              <small>{one.kind === "message" ? one.author?.name : one.kind}</small>
            </span>
            <span className="last">
              {one.board_title ? (
                <>
                  <Marked segments={one.title} />
                  {one.excerpt.length > 0 ? " · " : null}
                </>
              ) : null}
              <Marked segments={one.excerpt} />
            </span>
          </li>
        ))}
      </ul>
      {q && !isFetching && results.length === 0 ? <p className="empty">Nothing has these words.</p> : null}
    </div>
  );
}

function Marked({ segments }: { segments: readonly Schemas["Segment"][] }) {
  return (
    <span>
      {segments.map((segment, index) => (segment.hit ? <mark key={index}>{segment.text}</mark> : segment.text))}
    </span>
  );
}
