import { useEffect, useState, type ReactNode } from "react";
import { Link } from "wouter";

import { useChoice } from "../pulse/clicks";
import { queries } from "../query";
import { useConnection } from "../realtime/socket";
import { signOut, type Account } from "../session";
import { Avatar } from "./avatar";
import { openSearch } from "./palette";

export function Shell({ account, children }: { account: Account; children: ReactNode }) {
  const cache = useChoice();
  return (
    <div className="shell">
      <header className="bar">
        <Link href="/" className="brand" aria-label="FluxStudio: your projects">
          <img src="/icon.svg" alt="" width="24" height="24" />
          <span>FluxStudio</span>
        </Link>
        <button type="button" className="quiet search" onClick={openSearch}>
          <span>Search</span>
          <kbd>{/Mac|iP/.test(navigator.platform) ? "⌘K" : "Ctrl K"}</kbd>
        </button>
        {cache === "off" ? (
          <Link href="/pulse" className="cache-off">
            Cache off
          </Link>
        ) : null}
        <details className="menu">
          <summary aria-label={`Menu of ${account.name}`}>
            <Avatar id={`u${account.id}`} name={account.name} />
          </summary>
          <div className="panel" role="menu">
            <p className="who">
              <strong>{account.name}</strong>
              <small>{account.email}</small>
            </p>
            <Link href="/account" role="menuitem">
              Account and devices
            </Link>
            {account.operator ? (
              <Link href="/pulse" role="menuitem">
                Pulse
              </Link>
            ) : null}
            <button type="button" role="menuitem" className="quiet" onClick={() => void signOut()}>
              Sign out
            </button>
          </div>
        </details>
      </header>
      <Connection />
      <main>{children}</main>
    </div>
  );
}

function Connection() {
  const state = useConnection();
  const [late, setLate] = useState(false);
  useEffect(() => {
    const timer = window.setTimeout(() => setLate(true), 2_500);
    return () => {
      window.clearTimeout(timer);
      setLate(false);
    };
  }, [state]);
  useEffect(() => {
    if (state === "refused") void queries.invalidateQueries({ queryKey: ["me"] });
    if (state === "connected") void queries.invalidateQueries({ queryKey: ["projects"] });
  }, [state]);
  return (
    <p className="banner" role="status">
      {state === "away" && late ? "The connection is lost. What you do is kept, and sent when it is back." : null}
    </p>
  );
}
