import { useEffect, useRef, type ReactNode } from "react";

interface Props {
  title: string;
  close: () => void;
  wide?: boolean;
  children: ReactNode;
}

/** A dialog that is open as long as it is rendered; Escape and its button close it. */
export function Dialog({ title, close, wide, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-label={title}
      data-wide={wide}
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
    >
      <header className="heading">
        <h2>{title}</h2>
        <button type="button" className="quiet" aria-label="Close" onClick={close}>
          ✕
        </button>
      </header>
      {children}
    </dialog>
  );
}
