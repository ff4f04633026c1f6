import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useCallback, useEffect, useState, type MouseEvent } from "react";
import { useLocation, useSearch } from "wouter";

import { api, data, Problem } from "../api/client";
import { Chat } from "../chat/chat";
import { refresh } from "../chat/messages";
import { queries } from "../query";
import { ask, joined, on } from "../realtime/socket";
import type { Account } from "../session";
import { tell, tellProblem } from "../ui/toasts";
import { BoardsMenu } from "./boards-menu";
import { Members } from "./members-dialog";
import { ChangeBoard, DeleteBoard, History, ProjectSettings, Share } from "./project-dialogs";

const Board = lazy(() => import("../board/board"));

const JOIN_AGAIN_MS = 1_500;

type Open = "members" | "settings" | "share" | "history" | "change" | "delete";

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
  const { data: boards, isFetching } = useQuery({
    queryKey: ["boards", project],
    queryFn: () => data(api.GET("/api/projects/{project_id}/boards", path)),
    meta: { keep: true },
  });
  const [read, setRead] = useState<Readonly<Record<string, number>>>({});
  const [location, go] = useLocation();
  const around = Number(new URLSearchParams(useSearch()).get("message")) || null;
  const toNewest = useCallback(() => go(location, { replace: true }), [go, location]);
  useEffect(() => {
    let timer = 0;
    let left = false;
    const join = async (again = false) => {
      window.clearTimeout(timer);
      try {
        const there = await ask<{ read: Record<string, number> }>("project:join", { project_id: project });
        setRead(there.read);
      } catch (error) {
        const final = error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429;
        if (!final && !left) timer = window.setTimeout(() => void join(true), JOIN_AGAIN_MS);
        if (again) return;
      }
      await refresh(project); // last: what is written after it is told
    };
    const ends = [
      joined(() => void join()),
      on("message:read", (told) => {
        if (told.project_id === project) setRead((before) => ({ ...before, [told.user_id]: told.message_id }));
      }),
      on("boards:changed", (told) => void queries.invalidateQueries({ queryKey: ["boards", told.project_id] })),
      on("project:changed", (told) => void queries.invalidateQueries({ queryKey: ["project", told.project_id] })),
      on("members:changed", (told) => void queries.invalidateQueries({ queryKey: ["members", told.project_id] })),
      on("access:lost", (told) => void queries.invalidateQueries({ queryKey: ["project", told.project_id] })),
    ];
    return () => {
      left = true;
      window.clearTimeout(timer);
      for (const end of ends) end();
      ask("project:leave", { project_id: project }).catch(() => undefined);
    };
  }, [project]);
  const [open, setOpen] = useState<Open | null>(null);
  const [chatting, setChatting] = useState(() => window.innerWidth > 900 || around !== null);
  useEffect(() => {
    if (around !== null) setChatting(true);
  }, [around]);
  if (error && !shown) {
    return (
      <section className="empty">
        <h1>There is no such project</h1>
        <p>… or you may not see it. Ask an owner to let you in.</p>
      </section>
    );
  }
  const owner = shown?.role === "owner";
  const archived = shown?.archived === true;
  const mayEdit = !archived && (owner || shown?.role === "editor");
  const current = board ?? boards?.boards[0]?.id ?? null;
  const currentBoard = boards?.boards.find((one) => one.id === current);
  const title = currentBoard?.title ?? "Board";
  const gone = boards !== undefined && !isFetching && current !== null && currentBoard === undefined;
  const close = () => setOpen(null);
  const choose = (what: Open) => (event: MouseEvent<HTMLButtonElement>) => {
    event.currentTarget.closest("details")?.removeAttribute("open");
    setOpen(what);
  };
  const make = async () => {
    try {
      const body = { title: `Board ${(boards?.boards.length ?? 0) + 1}`, folder: currentBoard?.folder ?? "" };
      const made = await data(api.POST("/api/projects/{project_id}/boards", { ...path, body }));
      await queries.invalidateQueries({ queryKey: ["boards", project] });
      go(`/projects/${project}/boards/${made.id}`);
    } catch (problem) {
      tellProblem(problem);
    }
  };
  const unarchive = async () => {
    try {
      await data(api.PATCH("/api/projects/{project_id}", { ...path, body: { archived: false } }));
      await queries.invalidateQueries({ queryKey: ["project", project] });
      await queries.invalidateQueries({ queryKey: ["projects"] });
      tell("It is out of the archive.");
    } catch (problem) {
      tellProblem(problem);
    }
  };
  return (
    <div className="project" data-chatting={chatting}>
      <header className="heading">
        <h1>{shown?.title ?? " "}</h1>
        {archived ? (
          <p className="archived">
            In the archive
            {owner ? (
              <button type="button" className="quiet" onClick={() => void unarchive()}>
                Take it out
              </button>
            ) : null}
          </p>
        ) : null}
        <BoardsMenu
          project={project}
          boards={boards?.boards ?? []}
          current={currentBoard}
          make={mayEdit ? () => void make() : null}
        />
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
              <button type="button" className="quiet" onClick={choose("change")}>
                Rename or move the board
              </button>
            ) : null}
            {current !== null && mayEdit ? (
              <button type="button" className="quiet" onClick={choose("delete")}>
                Delete the board
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
      {open === "members" ? <Members project={project} me={account.id} owner={owner} close={close} /> : null}
      {open === "settings" && shown ? <ProjectSettings project={shown} close={close} /> : null}
      {open === "share" && current !== null ? <Share board={current} close={close} /> : null}
      {open === "history" && current !== null ? <History board={current} mayEdit={mayEdit} close={close} /> : null}
      {open === "change" && currentBoard ? (
        <ChangeBoard board={currentBoard} folders={boards?.boards.map((one) => one.folder) ?? []} close={close} />
      ) : null}
      {open === "delete" && currentBoard ? (
        <DeleteBoard
          board={currentBoard}
          close={(deleted) => {
            close();
            if (deleted) go(`/projects/${project}`);
          }}
        />
      ) : null}
      <div className="canvas">
        {gone ? (
          <section className="empty">
            <h2>This board is gone</h2>
            <p>Somebody has deleted it, or it belongs to another project.</p>
          </section>
        ) : current !== null ? (
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
      {chatting ? (
        <Chat
          project={project}
          me={account.id}
          mayWrite={mayEdit}
          note={archived ? "Nobody writes in an archived project." : "Viewers read along."}
          read={read}
          around={around}
          toNewest={toNewest}
        />
      ) : null}
    </div>
  );
}
