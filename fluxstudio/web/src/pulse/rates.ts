/** From counters to rates: what happened within the last seconds, worker by worker, then over all. */
import type { Schemas } from "../api/client";

type Report = Schemas["PulseReport"];
type Worker = Schemas["WorkerPulse"];

const WINDOW_S = 10;

export interface Space {
  readonly name: string;
  readonly reads: number;
  /** 0 to 1; `null`: nobody has read. */
  readonly rate: number | null;
}

export interface Sample {
  readonly at: number;
  /** Valkey can't be asked, or a worker goes without it. */
  readonly outage: boolean;
  readonly hitRate: number | null;
  readonly requests: number | null;
  readonly queries: number | null;
  /** Hits a second: each would have been a query. */
  readonly saved: number | null;
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
  readonly lag: number | null;
  readonly sockets: number;
  readonly rooms: number;
  readonly memory: number | null;
  readonly connections: number | null;
  readonly commands: number | null;
  readonly evictions: number | null;
  readonly spaces: readonly Space[];
  /** Requests a second of each worker. */
  readonly byWorker: ReadonlyMap<string, number>;
}

/** Follows reports. Each worker writes its own at its own time, so that each has a window of its own. */
export class Rates {
  private readonly seen = new Map<string, Worker[]>();
  private valkey: { at: number; facts: Schemas["ValkeyFacts"] }[] = [];

  feed(report: Report): Sample {
    const hits = new Map<string, { hits: number; misses: number }>();
    const byWorker = new Map<string, number>();
    let [requests, queries, saved, known] = [0, 0, 0, false];
    const latency = report.latency_bounds_s.map(() => 0).concat(0);
    for (const worker of report.workers) {
      const [old, now] = this.window(worker);
      const span = now.taken_at - old.taken_at;
      if (span <= 0) continue;
      known = true;
      byWorker.set(worker.worker, (now.requests - old.requests) / span);
      requests += (now.requests - old.requests) / span;
      queries += (now.queries - old.queries) / span;
      now.latency.forEach((count, place) => (latency[place] = (latency[place] ?? 0) + count - (old.latency[place] ?? 0)));
      for (const [name, counts] of Object.entries(now.cache)) {
        const before = old.cache[name] ?? { hits: 0, misses: 0 };
        const sum = hits.get(name) ?? { hits: 0, misses: 0 };
        sum.hits += (counts.hits - before.hits) / span;
        sum.misses += (counts.misses - before.misses) / span;
        hits.set(name, sum);
      }
    }
    for (const id of this.seen.keys()) {
      if (!report.workers.some((worker) => worker.worker === id)) this.seen.delete(id);
    }
    const all = [...hits.values()];
    saved = all.reduce((sum, one) => sum + one.hits, 0);
    const missed = all.reduce((sum, one) => sum + one.misses, 0);
    const lags = report.workers.flatMap((worker) => worker.invalidation_lag_ms ?? []);
    const [commands, evictions] = this.server(report);
    return {
      at: report.at,
      outage: !report.complete || report.workers.some((one) => one.status !== "ready" && one.status !== "disabled"),
      hitRate: saved + missed > 0 ? saved / (saved + missed) : null,
      requests: known ? requests : null,
      queries: known ? queries : null,
      saved: known ? saved : null,
      p50: quantile(report.latency_bounds_s, latency, 0.5),
      p95: quantile(report.latency_bounds_s, latency, 0.95),
      p99: quantile(report.latency_bounds_s, latency, 0.99),
      lag: lags.length > 0 ? Math.max(...lags) : null,
      sockets: report.workers.reduce((sum, worker) => sum + worker.sockets, 0),
      rooms: report.workers.reduce((sum, worker) => sum + worker.rooms, 0),
      memory: report.valkey?.memory_bytes ?? null,
      connections: report.valkey?.connections ?? null,
      commands,
      evictions,
      spaces: [...hits]
        .map(([name, one]) => ({
          name,
          reads: one.hits + one.misses,
          rate: one.hits + one.misses > 0 ? one.hits / (one.hits + one.misses) : null,
        }))
        .sort((one, other) => one.name.localeCompare(other.name)),
      byWorker,
    };
  }

  private window(worker: Worker): [Worker, Worker] {
    const before = this.seen.get(worker.worker) ?? [];
    const reports = worker.taken_at > (before.at(-1)?.taken_at ?? 0) ? [...before, worker] : before;
    const newest = reports.at(-1) ?? worker;
    while (reports.length > 2 && (reports[1]?.taken_at ?? 0) <= newest.taken_at - WINDOW_S) reports.shift();
    this.seen.set(worker.worker, reports);
    return [reports[0] ?? worker, newest];
  }

  private server(report: Report): [number | null, number | null] {
    const facts = report.valkey;
    if (!facts) {
      this.valkey = [];
      return [null, null];
    }
    if ((this.valkey.at(-1)?.facts.evicted ?? 0) > facts.evicted) this.valkey = []; // it was started anew
    this.valkey.push({ at: report.at, facts });
    while (this.valkey.length > 2 && (this.valkey[1]?.at ?? 0) <= report.at - WINDOW_S) this.valkey.shift();
    const old = this.valkey[0];
    const span = old ? report.at - old.at : 0;
    return [facts.commands_per_s, old && span > 0 ? (facts.evicted - old.facts.evicted) / span : null];
  }
}

/** Returns a quantile in ms, as if a bucket's durations were spread evenly in it; `null`: there is nothing. */
export function quantile(boundsS: readonly number[], counts: readonly number[], share: number): number | null {
  const wanted = share * counts.reduce((sum, count) => sum + count, 0);
  if (wanted <= 0) return null;
  let seen = 0;
  for (const [place, count] of counts.entries()) {
    if (count > 0 && seen + count >= wanted) {
      const low = place === 0 ? 0 : (boundsS[place - 1] ?? 0);
      const high = boundsS[place] ?? low;
      return (low + (high - low) * ((wanted - seen) / count)) * 1000;
    }
    seen += count;
  }
  return null;
}
