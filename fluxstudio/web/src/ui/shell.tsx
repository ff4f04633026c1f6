import type { ReactNode } from "react";
import { Link } from "wouter";

import { signOut, type Account } from "../session";
import { Avatar } from "./avatar";
import { openSearch } from "./palette";

export function Shell({ account, children }: { account: Account; children: ReactNode }) {
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
        <details className="menu">
          <summary aria-label={`Menu of ${account.name}`}>
            <Avatar id={account.id} name={account.name} />
          </summary>
          <div className="panel" role="menu">
            <p className="who">
              <strong>{account.name}</strong>
              <small>{account.email}</small>
            </p>
            <button type="button" role="menuitem" className="quiet" onClick={() => void signOut()}>
              Sign out
            </button>
          </div>
        </details>
      </header>
      <main>{children}</main>
    </div>
  );
}
