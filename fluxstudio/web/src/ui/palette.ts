/** Opens the search from anywhere: by its button, or Ctrl-K and ⌘K. */
import { useEffect, useState } from "react";

const OPEN = "flux:search";

export function openSearch(): void {
  window.dispatchEvent(new Event(OPEN));
}

export function useSearchOpen(): [boolean, (open: boolean) => void] {
  const [open, setOpen] = useState(false);
  useEffect(() => {
    const show = () => setOpen(true);
    const key = (event: KeyboardEvent) => {
      if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setOpen((before) => !before);
      }
    };
    window.addEventListener(OPEN, show);
    window.addEventListener("keydown", key, { capture: true });
    return () => {
      window.removeEventListener(OPEN, show);
      window.removeEventListener("keydown", key, { capture: true });
    };
  }, []);
  return [open, setOpen];
}
