/** The demo's switch: one's own reads with the cache and without it, side by side. */
import { useEffect, useState } from "react";

import { api, data } from "../api/client";
import { tellProblem } from "../ui/toasts";
import { milliseconds } from "./chart";
import { choose, forgetClicks, useChoice, useClicks, type Cache, type Click } from "./clicks";

const ROUNDS = 4;

export function Clicks() {
  const choice = useChoice();
  const clicks = useClicks();
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    if (choice === null) choose("on");
  }, [choice]);
  const measure = async () => {
    setBusy(true);
    try {
      await clickForMe();
    } catch (error) {
      tellProblem(error);
    }
    setBusy(false);
  };
  const off = choice === "off";
  return (
    <div className="part own">
      <h2>Your own clicks</h2>
      <p>
        Switch the cache off for yourself, click through your projects, come back and compare. Nobody else notices: this is
        the demo, and it is about your requests only.
      </p>
      <p className="buttons start">
        <button type="button" role="switch" aria-checked={!off} onClick={() => choose(off ? "on" : "off")}>
          Cache {off ? "off" : "on"} for me
        </button>
        <button type="button" className="quiet" disabled={busy} onClick={() => void measure()}>
          {busy ? "Clicking …" : "Click for me"}
        </button>
        <button type="button" className="quiet" onClick={forgetClicks} disabled={clicks.length === 0}>
          Begin anew
        </button>
      </p>
      <table>
        <thead>
          <tr>
            <th scope="col">Your reads</th>
            <th scope="col">How many</th>
            <th scope="col">In the server</th>
            <th scope="col">In this browser</th>
          </tr>
        </thead>
        <tbody>
          <Side name="Without the cache" cache="off" clicks={clicks} />
          <Side name="With the cache" cache="on" clicks={clicks} />
        </tbody>
      </table>
      <ol className="last-clicks" aria-label="Your last reads" hidden={clicks.length === 0}>
        {clicks
          .slice(-6)
          .reverse()
          .map((click, place) => (
            <li key={clicks.length - place}>
              <code>{click.path}</code>
              <small>
                cache {click.cache} · {milliseconds(click.server)} in the server · {milliseconds(click.took)} here
              </small>
            </li>
          ))}
      </ol>
    </div>
  );
}

function Side({ name, cache, clicks }: { name: string; cache: Cache; clicks: readonly Click[] }) {
  const mine = clicks.filter((click) => click.cache === cache);
  const server = median(mine.flatMap((click) => click.server ?? []));
  const slowest = Math.max(...(["on", "off"] as const).map((one) => serverMedian(clicks, one) ?? 0));
  return (
    <tr data-side={cache} data-ms={server ?? ""}>
      <th scope="row">{name}</th>
      <td>{mine.length}</td>
      <td>
        <span className="meter" aria-hidden="true">
          <span style={{ width: `${slowest > 0 ? ((server ?? 0) / slowest) * 100 : 0}%` }} />
        </span>
        {milliseconds(server)}
      </td>
      <td>{milliseconds(median(mine.map((click) => click.took)))}</td>
    </tr>
  );
}

function serverMedian(clicks: readonly Click[], cache: Cache): number | null {
  return median(clicks.flatMap((click) => (click.cache === cache && click.server !== null ? [click.server] : [])));
}

function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  const high = sorted[middle];
  if (high === undefined) return null;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? high) + high) / 2;
}

/** Reads what somebody reads who looks at their projects, in turns without the cache and with it. */
async function clickForMe(): Promise<void> {
  const { projects } = await data(api.GET("/api/projects"));
  const first = projects[0]?.id;
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const cache of ["off", "on"] as const) {
      const headers = { "x-flux-cache": cache };
      await api.GET("/api/projects", { headers });
      if (first === undefined) continue;
      const params = { path: { project_id: first } };
      await api.GET("/api/projects/{project_id}", { params, headers });
      await api.GET("/api/projects/{project_id}/messages", { params, headers });
      await api.GET("/api/projects/{project_id}/members", { params, headers });
    }
  }
}
