/** What is set about a project and its boards, each in a dialog. */
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";

import { api, data, type Schemas } from "../api/client";
import { queries } from "../query";
import { Dialog } from "../ui/dialog";
import { Field, ProblemNote, useSubmit } from "../ui/form";
import { ago } from "../ui/time";
import { attempt, tell } from "../ui/toasts";

const Preview = lazy(() => import("../board/preview"));

export function ProjectSettings({ project, close }: { project: Schemas["Project"]; close: () => void }) {
  const params = { params: { path: { project_id: project.id } } };
  const refresh = () =>
    Promise.all([
      queries.invalidateQueries({ queryKey: ["project", project.id] }),
      queries.invalidateQueries({ queryKey: ["projects"] }),
    ]);
  const change = useSubmit(async (form) => {
    const body = { title: String(form.get("title")), description: String(form.get("description")) };
    await data(api.PATCH("/api/projects/{project_id}", { ...params, body }));
    await refresh();
    tell("Saved.");
  });
  const publish = useSubmit(async (form) => {
    const body = {
      slug: String(form.get("slug")),
      headline: String(form.get("headline")),
      summary: String(form.get("summary")),
    };
    await data(api.PUT("/api/projects/{project_id}/showcase", { ...params, body }));
    await refresh();
    tell("Published.");
  });
  const archive = async () => {
    await data(api.PATCH("/api/projects/{project_id}", { ...params, body: { archived: true } }));
    await refresh();
    close();
  };
  const withdraw = async () => {
    await api.DELETE("/api/projects/{project_id}/showcase", params);
    await refresh();
  };
  return (
    <Dialog title="Project and public page" close={close}>
      <form onSubmit={change.onSubmit}>
        <Field label="Title" name="title" defaultValue={project.title} required maxLength={120} problem={change.problem} />
        <Field label="Description" name="description" defaultValue={project.description} problem={change.problem} />
        <ProblemNote problem={change.problem} />
        <p className="buttons">
          <button type="submit" disabled={change.busy}>
            Save
          </button>
        </p>
      </form>
      <h3>Public page</h3>
      {project.showcase_slug ? (
        <p>
          <a href={`/p/${project.showcase_slug}`} target="_blank" rel="noreferrer">
            /p/{project.showcase_slug}
          </a>{" "}
          is open to everybody.
        </p>
      ) : null}
      <form onSubmit={publish.onSubmit}>
        <Field
          label="Address, after /p/"
          name="slug"
          defaultValue={project.showcase_slug ?? ""}
          placeholder="harbour-poster"
          required
          maxLength={80}
          problem={publish.problem}
        />
        <Field label="Headline" name="headline" defaultValue={project.title} required maxLength={120} problem={publish.problem} />
        <Field label="Summary" name="summary" defaultValue={project.description} problem={publish.problem} />
        <ProblemNote problem={publish.problem} />
        <p className="buttons">
          {project.showcase_slug ? (
            <button type="button" className="quiet danger" onClick={() => void attempt(withdraw)}>
              Withdraw it
            </button>
          ) : null}
          <button type="submit" disabled={publish.busy}>
            {project.showcase_slug ? "Change it" : "Publish"}
          </button>
        </p>
      </form>
      {project.role === "owner" ? (
        <>
          <h3>Archive</h3>
          <p>What is archived can be looked at and found, and is out of the way. It can be taken out again.</p>
          <p className="buttons">
            <button type="button" className="quiet" onClick={() => void attempt(archive)}>
              Archive the project
            </button>
          </p>
        </>
      ) : null}
    </Dialog>
  );
}

interface BoardProps {
  board: Schemas["Board"];
  folders: readonly string[];
  close: () => void;
}

export function ChangeBoard({ board, folders, close }: BoardProps) {
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const params = { path: { board_id: board.id } };
    const body = { title: String(form.get("title")), folder: String(form.get("folder")) };
    await data(api.PATCH("/api/boards/{board_id}", { params, body }));
    await queries.invalidateQueries({ queryKey: ["boards", board.project_id] });
    close();
  });
  return (
    <Dialog title="Rename or move the board" close={close}>
      <form onSubmit={onSubmit}>
        <Field label="Title" name="title" defaultValue={board.title} required maxLength={120} autoFocus problem={problem} />
        <Field
          label="Folder, such as Campaign/Print"
          name="folder"
          defaultValue={board.folder}
          maxLength={240}
          list="folders"
          problem={problem}
        />
        <datalist id="folders">
          {[...new Set(folders)].filter(Boolean).map((folder) => (
            <option key={folder} value={folder} />
          ))}
        </datalist>
        <ProblemNote problem={problem} />
        <p className="buttons">
          <button type="submit" disabled={busy}>
            Save
          </button>
        </p>
      </form>
    </Dialog>
  );
}

export function DeleteBoard({ board, close }: { board: Schemas["Board"]; close: (deleted: boolean) => void }) {
  const { busy, problem, onSubmit } = useSubmit(async () => {
    await api.DELETE("/api/boards/{board_id}", { params: { path: { board_id: board.id } } });
    await queries.invalidateQueries({ queryKey: ["boards", board.project_id] });
    close(true);
  });
  return (
    <Dialog title={`Delete “${board.title}”?`} close={() => close(false)}>
      <form onSubmit={onSubmit}>
        <p>All that is on it goes, with its history and the links to it, for everybody. This can't be undone.</p>
        <ProblemNote problem={problem} />
        <p className="buttons">
          <button type="button" className="quiet" onClick={() => close(false)}>
            Keep it
          </button>
          <button type="submit" disabled={busy}>
            Delete it
          </button>
        </p>
      </form>
    </Dialog>
  );
}

const LASTING: readonly [string, number | null][] = [
  ["for a day", 86_400],
  ["for a week", 7 * 86_400],
  ["until it is revoked", null],
];

export function Share({ board, close }: { board: number; close: () => void }) {
  const params = { params: { path: { board_id: board } } };
  const { data: list } = useQuery({
    queryKey: ["links", board],
    queryFn: () => data(api.GET("/api/boards/{board_id}/links", params)),
  });
  const [made, setMade] = useState<string | null>(null);
  const refresh = () => queries.invalidateQueries({ queryKey: ["links", board] });
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const lasts = LASTING[Number(form.get("lasts"))]?.[1] ?? null;
    const body = { may_edit: form.get("may") === "edit", ...(lasts === null ? {} : { expires_in_s: lasts }) };
    const { token } = await data(api.POST("/api/boards/{board_id}/links", { ...params, body }));
    setMade(`${window.location.origin}/b#${token}`);
    await refresh();
  });
  const copy = async () => {
    await navigator.clipboard.writeText(made ?? "");
    tell("Copied.");
  };
  const revoke = async (link: number) => {
    const path = { board_id: board, link_id: link };
    await api.DELETE("/api/boards/{board_id}/links/{link_id}", { params: { path } });
    await refresh();
  };
  return (
    <Dialog title="Share the board" close={close}>
      <p>Whoever has the link sees this board, without an account.</p>
      <form onSubmit={onSubmit}>
        <p className="buttons start">
          <select name="may" aria-label="What guests may do">
            <option value="view">Guests look</option>
            <option value="edit">Guests draw</option>
          </select>
          <select name="lasts" aria-label="How long the link lasts" defaultValue="1">
            {LASTING.map(([words], index) => (
              <option key={words} value={index}>
                {words}
              </option>
            ))}
          </select>
          <button type="submit" disabled={busy}>
            Make a link
          </button>
        </p>
        <ProblemNote problem={problem} />
      </form>
      {made ? (
        <p className="buttons start">
          <input readOnly aria-label="The new link" value={made} onFocus={(event) => event.target.select()} />
          <button type="button" onClick={() => void attempt(copy)}>
            Copy
          </button>
        </p>
      ) : null}
      {made ? <p className="note">It is shown this once.</p> : null}
      <ul className="rows" aria-label="Links">
        {list?.links.map((link) => (
          <li key={link.id}>
            <span>
              <strong>{link.may_edit ? "Guests draw" : "Guests look"}</strong>
              <small>
                made {ago(link.created_at)}, {link.expires_at ? `until ${new Date(link.expires_at).toLocaleString()}` : "no end"}
              </small>
            </span>
            <button type="button" className="quiet danger" onClick={() => void attempt(() => revoke(link.id))}>
              Revoke
            </button>
          </li>
        ))}
      </ul>
    </Dialog>
  );
}

export function History({ board, mayEdit, close }: { board: number; mayEdit: boolean; close: () => void }) {
  const params = { params: { path: { board_id: board } } };
  const { data: list } = useQuery({
    queryKey: ["revisions", board],
    queryFn: () => data(api.GET("/api/boards/{board_id}/revisions", params)),
  });
  const [chosen, setChosen] = useState<number | null>(null);
  const shown = chosen ?? list?.revisions[0]?.id ?? null;
  const keep = useSubmit(async (form) => {
    await data(api.POST("/api/boards/{board_id}/revisions", { ...params, body: { name: String(form.get("name")) } }));
    await queries.invalidateQueries({ queryKey: ["revisions", board] });
  });
  const restore = async (revision: number) => {
    const path = { board_id: board, revision_id: revision };
    await data(api.POST("/api/boards/{board_id}/revisions/{revision_id}/restore", { params: { path } }));
    await queries.invalidateQueries({ queryKey: ["revisions", board] });
    tell("The board is what it was. What it was before that is in its history.");
    close();
  };
  return (
    <Dialog title="History of the board" close={close} wide>
      {mayEdit ? (
        <form onSubmit={keep.onSubmit}>
          <p className="buttons start">
            <input name="name" aria-label="Name" placeholder="Keep it as it is, under a name" required maxLength={120} />
            <button type="submit" disabled={keep.busy}>
              Keep
            </button>
          </p>
          <ProblemNote problem={keep.problem} />
        </form>
      ) : null}
      <div className="history">
        <ul aria-label="Revisions">
          {list?.revisions.map((revision) => (
            <li key={revision.id}>
              <button
                type="button"
                className="quiet"
                aria-pressed={revision.id === shown}
                onClick={() => setChosen(revision.id)}
              >
                <strong>{revision.name ?? "Kept by itself"}</strong>
                <small>
                  {ago(revision.created_at)}, {revision.elements} {revision.elements === 1 ? "element" : "elements"}
                </small>
              </button>
            </li>
          ))}
        </ul>
        <div className="preview">
          {shown !== null ? (
            <Suspense fallback={null}>
              <Preview board={board} revision={shown} />
            </Suspense>
          ) : list ? (
            <p className="empty">No revision yet.</p>
          ) : null}
        </div>
      </div>
      {mayEdit && shown !== null ? (
        <p className="buttons">
          <button type="button" onClick={() => void attempt(() => restore(shown))}>
            Restore it
          </button>
        </p>
      ) : null}
    </Dialog>
  );
}
