import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense } from "react";

import { connect } from "../realtime/socket";
import { api, beGuest, data } from "../api/client";

const Board = lazy(() => import("../board/board"));

/** A board for a guest. The link's token is behind the #, which no browser sends to a server. */
export default function Shared() {
  const token = window.location.hash.slice(1);
  const { data: guest, error } = useQuery({
    queryKey: ["shared", token],
    queryFn: () => {
      beGuest(token);
      connect(token);
      return data(api.GET("/api/shared"));
    },
  });
  if (error) {
    return (
      <section className="empty">
        <h1>This link opens nothing</h1>
        <p>It was revoked, or has expired. Ask whoever sent it for a new one.</p>
      </section>
    );
  }
  return (
    <div className="project guest">
      <header className="heading">
        <h1>{guest?.board.title ?? " "}</h1>
      </header>
      <div className="canvas">
        {guest ? (
          <Suspense fallback={<div className="waiting" aria-busy="true" />}>
            <Board id={guest.board.id} title={guest.board.title} mayEdit={guest.may_edit} me="guest" />
          </Suspense>
        ) : null}
      </div>
    </div>
  );
}
