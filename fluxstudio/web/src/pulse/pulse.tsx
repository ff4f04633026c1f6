/** Pulse: how the studio runs, for operators; live, from all its workers. */
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";

import { api, data, Problem, type Schemas } from "../api/client";
import { bytes, Chart, milliseconds, number, percent } from "./chart";
import { Clicks } from "./own-clicks";
import { Rates, type Sample } from "./rates";

const EVERY_MS = 2_000;
const MOST = 150;
const LEAST = 30;

export default function Pulse() {
  const { data: report, error } = useQuery({
    queryKey: ["pulse"],
    queryFn: () => data(api.GET("/api/pulse")),
    refetchInterval: EVERY_MS,
    refetchIntervalInBackground: true,
    retry: false,
    staleTime: 0,
    gcTime: 0,
  });
  const samples = useSamples(report);
  const now = samples.at(-1);
  if (error instanceof Problem && error.status === 403) {
    return (
      <section className="empty">
        <h1>Pulse is for operators</h1>
        <p>{error.detail}</p>
      </section>
    );
  }
  return (
    <section className="pulse">
      <header className="heading">
        <h1>Pulse</h1>
        <Health report={report} unreachable={error !== null} />
      </header>
      {report?.demo ? <Clicks /> : null}
      {now ? <Charts samples={samples} now={now} limit={report?.valkey?.memory_limit_bytes ?? 0} /> : null}
      {now ? <Spaces now={now} samples={samples} /> : null}
      {report && now ? <Workers report={report} now={now} /> : null}
    </section>
  );
}

/** Each report makes one sample; the last five minutes are kept. */
function useSamples(report: Schemas["PulseReport"] | undefined): readonly Sample[] {
  const rates = useRef<Rates>(new Rates());
  const [samples, setSamples] = useState<readonly Sample[]>([]);
  useEffect(() => {
    if (report === undefined) return;
    const sample = rates.current.feed(report);
    setSamples((before) => (before.at(-1)?.at === sample.at ? before : [...before.slice(1 - MOST), sample]));
  }, [report]);
  return samples;
}

function Health({ report, unreachable }: { report: Schemas["PulseReport"] | undefined; unreachable: boolean }) {
  const away = report?.workers.filter((worker) => worker.status !== "ready" && worker.status !== "disabled") ?? [];
  const without = report?.workers.every((worker) => worker.status === "disabled") ?? false;
  const bad = unreachable || (report !== undefined && (!report.complete || away.length > 0));
  const words = unreachable
    ? "The studio does not answer. Trying again …"
    : !report
      ? " "
      : without
        ? "Without Valkey, as it was told to be (USE_REDIS=false)"
        : bad
          ? `Valkey is away (breaker ${away[0]?.breaker ?? "closed"}). The studio goes on from PostgreSQL.`
          : `Valkey ${report.valkey?.version ?? ""} is well. ${report.workers.length} ${report.workers.length === 1 ? "worker" : "workers"}.`;
  return (
    <p className="health" role="status" data-bad={bad}>
      {words}
    </p>
  );
}

function Charts({ samples, now, limit }: { samples: readonly Sample[]; now: Sample; limit: number }) {
  const outages = samples.map((sample) => sample.outage);
  const of = (name: keyof Sample) => samples.map((sample) => sample[name] as number | null);
  const shared = { outages, most: Math.max(LEAST, samples.length) };
  return (
    <div className="charts">
      <Chart
        {...shared}
        title="Hit rate"
        now={<span data-number="hit-rate">{percent(now.hitRate)}</span>}
        series={[{ name: "hit rate", values: of("hitRate") }]}
        top={1.02}
      />
      <Chart
        {...shared}
        title="Requests a second"
        now={<span data-number="requests">{number(now.requests)}</span>}
        series={[{ name: "requests", values: of("requests") }]}
      />
      <Chart
        {...shared}
        title="Time to answer"
        now={
          <>
            p50 {milliseconds(now.p50)} · p95 {milliseconds(now.p95)} · p99 {milliseconds(now.p99)}
          </>
        }
        series={[
          { name: "p50", values: of("p50") },
          { name: "p95", values: of("p95"), dash: "6 3" },
          { name: "p99", values: of("p99"), dash: "2 3" },
        ]}
      />
      <Chart
        {...shared}
        title="Queries saved a second"
        now={<span data-number="saved">{number(now.saved)}</span>}
        note={`${number(now.queries, 1)} made, the studio’s own among them`}
        series={[
          { name: "saved", values: of("saved") },
          { name: "made", values: of("queries"), dash: "2 3" },
        ]}
      />
      <Chart
        {...shared}
        title="Valkey’s memory"
        now={bytes(now.memory)}
        note={limit > 0 ? `of ${bytes(limit)}` : undefined}
        series={[{ name: "bytes", values: of("memory") }]}
      />
      <Chart
        {...shared}
        title="Valkey’s commands a second"
        now={<span data-number="commands">{number(now.commands)}</span>}
        series={[{ name: "commands", values: of("commands") }]}
      />
      <Chart
        {...shared}
        title="Connections to Valkey"
        now={number(now.connections)}
        series={[{ name: "connections", values: of("connections") }]}
      />
      <Chart
        {...shared}
        title="Evictions a second"
        now={number(now.evictions)}
        series={[{ name: "evictions", values: of("evictions") }]}
      />
      <Chart
        {...shared}
        title="Invalidation lag"
        now={milliseconds(now.lag)}
        note="from a write to every worker’s knowing"
        series={[{ name: "lag", values: of("lag") }]}
      />
      <Chart
        {...shared}
        title="Sockets"
        now={number(now.sockets)}
        note={`in ${now.rooms} rooms`}
        series={[{ name: "sockets", values: of("sockets") }]}
      />
    </div>
  );
}

function Spaces({ now, samples }: { now: Sample; samples: readonly Sample[] }) {
  const last = (name: string) =>
    samples.reduce<number | null>((kept, sample) => sample.spaces.find((one) => one.name === name)?.rate ?? kept, null);
  return (
    <div className="part table">
      <h2>The cache, by namespace</h2>
      <table>
        <thead>
          <tr>
            <th scope="col">Namespace</th>
            <th scope="col">Reads a second</th>
            <th scope="col">Hit rate</th>
          </tr>
        </thead>
        <tbody>
          {now.spaces.map((space) => {
            const rate = space.rate ?? last(space.name);
            return (
              <tr key={space.name} data-space={space.name}>
                <th scope="row">{space.name}</th>
                <td>{number(space.reads, 1)}</td>
                <td>
                  <span className="meter" aria-hidden="true">
                    <span style={{ width: `${(rate ?? 0) * 100}%` }} />
                  </span>
                  {percent(rate)}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Workers({ report, now }: { report: Schemas["PulseReport"]; now: Sample }) {
  return (
    <div className="part table">
      <h2>Workers</h2>
      <table>
        <thead>
          <tr>
            <th scope="col">Worker</th>
            <th scope="col">Valkey</th>
            <th scope="col">Breaker</th>
            <th scope="col">Requests a second</th>
            <th scope="col">Sockets</th>
            <th scope="col">Rooms</th>
            <th scope="col">Lag</th>
          </tr>
        </thead>
        <tbody>
          {report.workers.map((worker) => (
            <tr key={worker.worker}>
              <th scope="row">
                {worker.host}:{worker.pid}
              </th>
              <td>{worker.status}</td>
              <td data-breaker={worker.breaker}>{worker.breaker}</td>
              <td>{number(now.byWorker.get(worker.worker) ?? null, 1)}</td>
              <td>{worker.sockets}</td>
              <td>{worker.rooms}</td>
              <td>{milliseconds(worker.invalidation_lag_ms)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
