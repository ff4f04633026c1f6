import { useQuery } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { Link, useLocation } from "wouter";

import { api, data, type Schemas } from "../api/client";
import { queries } from "../query";
import { useTold } from "../realtime/socket";
import { Field, ProblemNote, useSubmit } from "../ui/form";
import { ago } from "../ui/time";
import { attempt } from "../ui/toasts";

export function useProjects() {
  return useQuery({
    queryKey: ["projects"],
    queryFn: () => data(api.GET("/api/projects")),
    meta: { keep: true },
  });
}

function refresh(): void {
  void queries.invalidateQueries({ queryKey: ["projects"] });
}

export function Projects() {
  const { data: list, error } = useProjects();
  useTold("projects:changed", refresh);
  const [filter, setFilter] = useState("");
  const dialog = useRef<HTMLDialogElement>(null);
  const [archive, setArchive] = useState(false);
  const hasArchive = list?.projects.some((project) => project.archived) ?? false;
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = list?.projects.filter(
    (project) =>
      project.archived === (archive && hasArchive) && words.every((word) => project.title.toLowerCase().includes(word)),
  );
  return (
    <section className="projects">
      <header className="heading">
        <h1>Projects</h1>
        <input
          type="search"
          placeholder="Filter"
          aria-label="Filter projects"
          value={filter}
          onChange={(event) => setFilter(event.target.value)}
        />
        {hasArchive ? (
          <button type="button" className="quiet" aria-pressed={archive} onClick={() => setArchive(!archive)}>
            Archive
          </button>
        ) : null}
        <button type="button" onClick={() => dialog.current?.showModal()}>
          New project
        </button>
      </header>
      <Invitations />
      {error && !list ? <p className="problem">Your projects can't be shown now. Trying again …</p> : null}
      {shown?.length === 0 ? (
        <p className="empty">{filter ? "No project has these words." : "No projects yet. Make the first one."}</p>
      ) : null}
      <ul className="tiles">
        {shown?.map((project) => (
          <li key={project.id}>
            <Tile project={project} />
          </li>
        ))}
      </ul>
      <dialog ref={dialog} aria-label="New project">
        <NewProject close={() => dialog.current?.close()} />
      </dialog>
    </section>
  );
}

/** What one is asked to join. */
function Invitations() {
  const { data: list } = useQuery({
    queryKey: ["received"],
    queryFn: () => data(api.GET("/api/invitations")),
    staleTime: 60_000,
  });
  const [, go] = useLocation();
  const accept = async (id: number) => {
    const params = { path: { invitation_id: id } };
    const { project_id } = await data(api.POST("/api/invitations/{invitation_id}/accept", { params }));
    await Promise.all([queries.invalidateQueries({ queryKey: ["received"] }), queries.invalidateQueries({ queryKey: ["projects"] })]);
    go(`/projects/${project_id}`);
  };
  const decline = async (id: number) => {
    await api.DELETE("/api/invitations/{invitation_id}", { params: { path: { invitation_id: id } } });
    await queries.invalidateQueries({ queryKey: ["received"] });
  };
  if (!list || list.invitations.length === 0) return null;
  return (
    <ul className="rows part invitations" aria-label="Invitations">
      {list.invitations.map((one) => (
        <li key={one.id}>
          <span className="grow">
            <strong>{one.project_title}</strong>
            <small>
              {one.invited_by} invites you as {one.role}, {ago(one.created_at)}
            </small>
          </span>
          <button type="button" className="quiet" onClick={() => void attempt(() => decline(one.id))}>
            Decline
          </button>
          <button type="button" onClick={() => void attempt(() => accept(one.id))}>
            Accept
          </button>
        </li>
      ))}
    </ul>
  );
}

function Tile({ project }: { project: Schemas["ProjectSummary"] }) {
  const last = project.last_message;
  return (
    <Link href={`/projects/${project.id}`} className="tile">
      <span className="line">
        <strong>{project.title}</strong>
        {project.unread > 0 ? (
          <span className="unread" aria-label={`${project.unread} unread messages`}>
            {project.unread}
            {project.unread_capped ? "+" : ""}
          </span>
        ) : null}
      </span>
      <span className="last">{last ? `${last.author.name}: ${last.excerpt}` : "No messages yet"}</span>
      <small>
        {project.role} · {project.member_count} {project.member_count === 1 ? "member" : "members"} ·{" "}
        {ago(project.active_at)}
      </small>
    </Link>
  );
}

function NewProject({ close }: { close: () => void }) {
  const [, go] = useLocation();
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const body = { title: String(form.get("title")), description: String(form.get("description")) };
    const project = await data(api.POST("/api/projects", { body }));
    await queries.invalidateQueries({ queryKey: ["projects"] });
    close();
    go(`/projects/${project.id}`);
  });
  return (
    <form onSubmit={onSubmit}>
      <h2>New project</h2>
      <Field label="Title" name="title" required maxLength={120} autoFocus problem={problem} />
      <Field label="Description" name="description" maxLength={4000} problem={problem} />
      <ProblemNote problem={problem} />
      <p className="buttons">
        <button type="button" className="quiet" onClick={close}>
          Cancel
        </button>
        <button type="submit" disabled={busy}>
          Make it
        </button>
      </p>
    </form>
  );
}
