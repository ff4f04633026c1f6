import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useState, type MouseEvent } from "react";
import { Link } from "wouter";

import { api, data } from "../api/client";
import { Chat } from "../chat/chat";
import { queries } from "../query";
import { ask, joined, on } from "../realtime/socket";
import type { Account } from "../session";
import { tellProblem } from "../ui/toasts";
import { History, Members, ProjectSettings, RenameBoard, Share } from "./project-dialogs";

const Board = lazy(() => import("../board/board"));

type Open = "members" | "settings" | "share" | "history" | "rename";

interface Props {
  account: Account;
  project: number;
  board: number | null;
}

export default function Project({ account, project, board }: Props) {
  const path = { params: { path: { project_id: project } } };
  const { data: shown, error } = useQuery({
    queryKey: ["project", project],
    queryFn: () => data(api.GET("/api/projects/{project_id}", path)),
    meta: { keep: true },
  });
  const { data: boards } = useQuery({
    queryKey: ["boards", project],
    queryFn: () => data(api.GET("/api/projects/{project_id}/boards", path)),
    meta: { keep: true },
  });
  useEffect(() => {
    const ends = [
      joined(() => {
        ask("project:join", { project_id: project }).catch(() => undefined);
        void queries.invalidateQueries({ queryKey: ["messages", project] });
      }),
      on("project:changed", (told) => void queries.invalidateQueries({ queryKey: ["project", told.project_id] })),
      on("members:changed", (told) => void queries.invalidateQueries({ queryKey: ["members", told.project_id] })),
      on("boards:changed", (told) => void queries.invalidateQueries({ queryKey: ["boards", told.project_id] })),
      on("access:lost", (told) => void queries.invalidateQueries({ queryKey: ["project", told.project_id] })),
    ];
    return () => {
      for (const end of ends) end();
      ask("project:leave", { project_id: project }).catch(() => undefined);
    };
  }, [project]);
  const [open, setOpen] = useState<Open | null>(null);
  const [chatting, setChatting] = useState(() => window.innerWidth > 900);
  if (error && !shown) {
    return (
      <section className="empty">
        <h1>There is no such project</h1>
        <p>… or you may not see it. Ask an owner to let you in.</p>
      </section>
    );
  }
  const mayEdit = shown?.role === "owner" || shown?.role === "editor";
  const current = board ?? boards?.boards[0]?.id ?? null;
  const title = boards?.boards.find((one) => one.id === current)?.title ?? "Board";
  const close = () => setOpen(null);
  const choose = (what: Open) => (event: MouseEvent<HTMLButtonElement>) => {
    event.currentTarget.closest("details")?.removeAttribute("open");
    setOpen(what);
  };
  const make = async () => {
    try {
      const body = { title: `Board ${(boards?.boards.length ?? 0) + 1}` };
      await data(api.POST("/api/projects/{project_id}/boards", { ...path, body }));
      await queries.invalidateQueries({ queryKey: ["boards", project] });
    } catch (problem) {
      tellProblem(problem);
    }
  };
  return (
    <div className="project" data-chatting={chatting}>
      <header className="heading">
        <h1>{shown?.title ?? " "}</h1>
        <nav aria-label="Boards" className="tabs">
          {boards?.boards.map((one) => (
            <Link
              key={one.id}
              href={`/projects/${project}/boards/${one.id}`}
              aria-current={one.id === current ? "page" : undefined}
            >
              {one.title}
            </Link>
          ))}
          {mayEdit ? (
            <button type="button" className="quiet" onClick={() => void make()} aria-label="New board">
              +
            </button>
          ) : null}
        </nav>
        <button type="button" className="quiet" aria-pressed={chatting} onClick={() => setChatting(!chatting)}>
          Chat
        </button>
        <details className="menu">
          <summary className="quiet" aria-label="Menu of the project">
            ⋯
          </summary>
          <div className="panel">
            {current !== null && mayEdit ? (
              <button type="button" className="quiet" onClick={choose("share")}>
                Share the board
              </button>
            ) : null}
            {current !== null ? (
              <button type="button" className="quiet" onClick={choose("history")}>
                History of the board
              </button>
            ) : null}
            {current !== null && mayEdit ? (
              <button type="button" className="quiet" onClick={choose("rename")}>
                Rename the board
              </button>
            ) : null}
            <button type="button" className="quiet" onClick={choose("members")}>
              Members
            </button>
            {mayEdit ? (
              <button type="button" className="quiet" onClick={choose("settings")}>
                Project and public page
              </button>
            ) : null}
          </div>
        </details>
      </header>
      {open === "members" ? <Members project={project} me={account.id} owner={shown?.role === "owner"} close={close} /> : null}
      {open === "settings" && shown ? <ProjectSettings project={shown} close={close} /> : null}
      {open === "share" && current !== null ? <Share board={current} close={close} /> : null}
      {open === "history" && current !== null ? <History board={current} mayEdit={mayEdit} close={close} /> : null}
      {open === "rename" && current !== null ? (
        <RenameBoard project={project} board={current} title={title} close={close} />
      ) : null}
      <div className="canvas">
        {current !== null ? (
          <Suspense fallback={<div className="waiting" aria-busy="true" />}>
            <Board key={current} id={current} title={title} mayEdit={mayEdit} me={`u${account.id}`} />
          </Suspense>
        ) : boards ? (
          <section className="empty">
            <p>No board yet.</p>
            {mayEdit ? (
              <button type="button" onClick={() => void make()}>
                Make the first one
              </button>
            ) : null}
          </section>
        ) : null}
      </div>
      {chatting ? <Chat project={project} mayWrite={mayEdit} /> : null}
    </div>
  );
}
