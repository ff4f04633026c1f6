/** A project's boards: those of the folder that is open as tabs, all of them as a tree. */
import { Link } from "wouter";

import type { Schemas } from "../api/client";

type Board = Schemas["Board"];

interface Folder {
  name: string;
  path: string;
  folders: Folder[];
  boards: Board[];
}

/** Puts boards where their folders' paths say; folders by name, boards as they come. */
export function treeOf(boards: readonly Board[]): Folder {
  const root: Folder = { name: "", path: "", folders: [], boards: [] };
  for (const board of boards) {
    let folder = root;
    for (const name of board.folder.split("/").filter(Boolean)) {
      let inner = folder.folders.find((one) => one.name === name);
      if (!inner) {
        inner = { name, path: folder.path ? `${folder.path}/${name}` : name, folders: [], boards: [] };
        folder.folders.push(inner);
        folder.folders.sort((one, other) => one.name.localeCompare(other.name));
      }
      folder = inner;
    }
    folder.boards.push(board);
  }
  return root;
}

interface Props {
  project: number;
  boards: readonly Board[];
  current: Board | undefined;
  make: (() => void) | null;
}

export function BoardsMenu({ project, boards, current, make }: Props) {
  const folder = current?.folder ?? "";
  const hasFolders = boards.some((board) => board.folder !== "");
  return (
    <>
      {hasFolders ? (
        <details className="menu folders">
          <summary className="quiet" aria-label="Folders">
            {folder ? folder.replaceAll("/", " / ") : "Folders"} ▾
          </summary>
          <nav className="panel" aria-label="All boards">
            <Level project={project} folder={treeOf(boards)} current={current?.id} />
          </nav>
        </details>
      ) : null}
      <nav aria-label="Boards" className="tabs">
        {boards
          .filter((board) => board.folder === folder)
          .map((board) => (
            <Link
              key={board.id}
              href={`/projects/${project}/boards/${board.id}`}
              aria-current={board.id === current?.id ? "page" : undefined}
            >
              {board.title}
            </Link>
          ))}
        {make ? (
          <button type="button" className="quiet" onClick={make} aria-label="New board">
            +
          </button>
        ) : null}
      </nav>
    </>
  );
}

function Level({ project, folder, current }: { project: number; folder: Folder; current: number | undefined }) {
  return (
    <ul className="tree">
      {folder.boards.map((board) => (
        <li key={board.id}>
          <Link
            href={`/projects/${project}/boards/${board.id}`}
            aria-current={board.id === current ? "page" : undefined}
            onClick={(event) => event.currentTarget.closest("details")?.removeAttribute("open")}
          >
            {board.title}
          </Link>
        </li>
      ))}
      {folder.folders.map((inner) => (
        <li key={inner.path}>
          <strong>{inner.name}</strong>
          <Level project={project} folder={inner} current={current} />
        </li>
      ))}
    </ul>
  );
}
