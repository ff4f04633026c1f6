import { CaptureUpdateAction, Excalidraw, MainMenu, reconcileElements } from "@excalidraw/excalidraw";
import "@excalidraw/excalidraw/index.css";
import type { OrderedExcalidrawElement } from "@excalidraw/excalidraw/element/types";
import type { BinaryFiles, Collaborator, ExcalidrawImperativeAPI, SocketId } from "@excalidraw/excalidraw/types";
import { Component, useEffect, useRef, useState, useSyncExternalStore, type ReactNode } from "react";

import { usePeople } from "../realtime/people";
import { mention, on, type Cursor } from "../realtime/socket";
import { Avatar, colourOf } from "../ui/avatar";
import { tell } from "../ui/toasts";
import { fit } from "./arriving";
import { Images } from "./images";
import { Library } from "./library";
import { Scene } from "./scene";

const CURSOR_MS = 33;
const GONE_MS = 12_000;
const MAX_PASTED = 50_000;
/** Each line of what is pasted becomes an element. */
const MAX_PASTED_LINES = 1_000;

interface Props {
  id: number;
  title: string;
  mayEdit: boolean;
  /** The key of whoever looks, as others are told it. */
  me: string;
}

/** A board that is saved while one draws, and shows what others draw and where they are. */
export default function Board(props: Props) {
  return (
    <Guard>
      <Canvas key={props.me} {...props} />
    </Guard>
  );
}

/** Says so where the board itself breaks; the rest of the screen goes on. */
class Guard extends Component<{ children: ReactNode }, { broken: boolean }> {
  override state = { broken: false };

  static getDerivedStateFromError() {
    return { broken: true };
  }

  override render() {
    if (!this.state.broken) return this.props.children;
    return (
      <section className="empty">
        <h2>The board can't be shown</h2>
        <p>What you drew is kept. Open it anew; if that does not help, restore an older revision.</p>
        <button type="button" onClick={() => this.setState({ broken: false })}>
          Open it anew
        </button>
      </section>
    );
  }
}

function Canvas({ id, title, mayEdit, me }: Props) {
  const [made, setMade] = useState<ExcalidrawImperativeAPI | null>(null);
  const excalidraw = useStarted(made);
  const [people, setPeople] = usePeople(id);
  const dark = useDark();
  const [lost, setLost] = useState(false);
  const [ready, setReady] = useState(false);
  const scene = useRef<Scene | null>(null);
  const images = useRef<Images | null>(null);
  useEffect(() => {
    if (excalidraw === null) return undefined;
    const pictures = new Images(
      id,
      { files: () => excalidraw.getFiles(), add: (files) => excalidraw.addFiles(files) },
      mayEdit,
    );
    images.current = pictures;
    const opened = new Scene(
      id,
      me,
      {
        local: () => excalidraw.getSceneElementsIncludingDeleted(),
        show: (arriving) => {
          const merged = reconcileElements(
            excalidraw.getSceneElementsIncludingDeleted(),
            fit(arriving) as unknown as Parameters<typeof reconcileElements>[1],
            excalidraw.getAppState(),
          );
          excalidraw.updateScene({ elements: merged, captureUpdate: CaptureUpdateAction.NEVER });
          pictures.look(merged, excalidraw.getFiles());
        },
        people: setPeople,
        lost: () => setLost(true),
        ready: () => setReady(true),
      },
      mayEdit,
    );
    scene.current = opened;
    opened.open();
    return () => {
      scene.current = null;
      images.current = null;
      opened.close();
      pictures.close();
    };
  }, [excalidraw, id, me, mayEdit, setPeople]);
  const library = useLibrary(excalidraw, me);
  useCursors(excalidraw, me);
  const point = usePointer(id, excalidraw);
  if (lost) {
    return (
      <section className="empty">
        <h2>This board is not yours to see any more</h2>
      </section>
    );
  }
  return (
    <div className="board" data-ready={ready}>
      <Excalidraw
        excalidrawAPI={setMade}
        viewModeEnabled={!mayEdit}
        isCollaborating
        theme={dark ? "dark" : "light"}
        name={title}
        autoFocus
        onChange={(elements: readonly OrderedExcalidrawElement[], _, files: BinaryFiles) => {
          scene.current?.changed(elements);
          images.current?.look(elements, files);
        }}
        initialData={() => library.open().then((libraryItems) => ({ libraryItems }))}
        onLibraryChange={(items) => library.changed(items)}
        onPointerUpdate={point}
        onPaste={({ text, elements }) => elements !== undefined || fits(text ?? "")}
      >
        <MainMenu>
          {mayEdit ? <MainMenu.DefaultItems.LoadScene /> : null}
          <MainMenu.DefaultItems.Export />
          <MainMenu.DefaultItems.SaveAsImage />
          <MainMenu.DefaultItems.SearchMenu />
          <MainMenu.DefaultItems.Help />
          {mayEdit ? <MainMenu.DefaultItems.ClearCanvas /> : null}
          <MainMenu.Separator />
          <MainMenu.DefaultItems.ChangeCanvasBackground />
        </MainMenu>
      </Excalidraw>
      <ul className="people" aria-label="Who is here">
        {people.map((person) => (
          <li key={person.key}>
            <Avatar
              id={person.key}
              name={person.name}
              title={(person.devices ?? 1) > 1 ? `${person.name}, on ${person.devices} devices` : person.name}
            />
            <span className="hidden">{person.name}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** Whether a board can take a text; says so if it can't. */
function fits(text: string): boolean {
  const lines = text.length > MAX_PASTED ? 0 : text.split("\n").length;
  if (text.length <= MAX_PASTED && lines <= MAX_PASTED_LINES) return true;
  const most = `${MAX_PASTED.toLocaleString("en")} characters in ${MAX_PASTED_LINES.toLocaleString("en")} lines`;
  tell(`This text is too long for a board, which takes ${most} at a time. It is still in your clipboard.`);
  return false;
}

/** Returns the canvas when it has begun: as its last step before, it replaces all its elements by none. */
function useStarted(made: ExcalidrawImperativeAPI | null): ExcalidrawImperativeAPI | null {
  const [started, setStarted] = useState<ExcalidrawImperativeAPI | null>(null);
  useEffect(() => {
    if (made === null) return undefined;
    const look = () => {
      if (made.getAppState().isLoading) return;
      window.clearInterval(timer);
      setStarted(made);
    };
    const timer = window.setInterval(look, 20);
    return () => window.clearInterval(timer);
  }, [made]);
  return started;
}

/** Whether the system wants it dark, now and when that changes. */
function useDark(): boolean {
  const [query] = useState(() => window.matchMedia("(prefers-color-scheme: dark)"));
  return useSyncExternalStore(
    (changed) => {
      query.addEventListener("change", changed);
      return () => query.removeEventListener("change", changed);
    },
    () => query.matches,
  );
}

/** The shapes that a user keeps, as long as the canvas is there. */
function useLibrary(excalidraw: ExcalidrawImperativeAPI | null, me: string): Library {
  const [library] = useState(() => new Library(me));
  useEffect(() => {
    if (excalidraw === null) return undefined;
    return library.follow(async (next) => {
      await excalidraw.updateLibrary({ libraryItems: next });
    });
  }, [excalidraw, library]);
  return library;
}

interface Pointing {
  pointer: { x: number; y: number; tool: "pointer" | "laser" };
  button: "up" | "down";
}

/** Tells others where the pointer is and what is selected, thirty times a second at most. */
function usePointer(board: number, excalidraw: ExcalidrawImperativeAPI | null): (at: Pointing) => void {
  const last = useRef(0);
  return ({ pointer, button }) => {
    const now = performance.now();
    if (now - last.current < CURSOR_MS) return;
    last.current = now;
    const chosen = excalidraw?.getAppState().selectedElementIds ?? {};
    const selected = Object.keys(chosen).slice(0, 100);
    mention("cursor", { board_id: board, x: pointer.x, y: pointer.y, tool: pointer.tool, button, selected });
  };
}

/** Shows where others are. */
function useCursors(excalidraw: ExcalidrawImperativeAPI | null, me: string): void {
  useEffect(() => {
    if (excalidraw === null) return undefined;
    const seen = new Map<SocketId, { cursor: Cursor; at: number }>();
    const draw = () => {
      const now = Date.now();
      const collaborators = new Map<SocketId, Collaborator>();
      for (const [id, { cursor, at }] of seen) {
        if (now - at > GONE_MS) {
          seen.delete(id);
          continue;
        }
        const colour = colourOf(cursor.key);
        collaborators.set(id, {
          username: cursor.name,
          pointer: { x: cursor.x, y: cursor.y, tool: cursor.tool ?? "pointer" },
          button: cursor.button ?? "up",
          selectedElementIds: Object.fromEntries((cursor.selected ?? []).map((one) => [one, true as const])),
          color: { background: colour, stroke: colour },
          id: cursor.key,
        });
      }
      excalidraw.updateScene({ collaborators });
    };
    const end = on("cursors", (told) => {
      for (const [id, cursor] of Object.entries(told)) {
        if (cursor.key !== me) seen.set(id as SocketId, { cursor, at: Date.now() });
      }
      draw();
    });
    const timer = window.setInterval(() => seen.size > 0 && draw(), 3_000);
    return () => {
      end();
      window.clearInterval(timer);
    };
  }, [excalidraw, me]);
}
