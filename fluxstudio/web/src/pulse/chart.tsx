import type { ReactNode } from "react";

export interface Series {
  readonly name: string;
  readonly values: readonly (number | null)[];
  readonly dash?: string;
}

const WIDTH = 300;
const HEIGHT = 56;

interface Props {
  title: string;
  /** The newest value, in words. */
  now: ReactNode;
  note?: ReactNode;
  series: readonly Series[];
  /** Where Valkey was away. */
  outages: readonly boolean[];
  most: number;
  top?: number;
}

/** A number, and how it came to be: lines over the last minutes, with outages shaded. */
export function Chart({ title, now, note, series, outages, most, top }: Props) {
  const highest = top ?? Math.max(1e-9, ...series.flatMap((one) => one.values.map((value) => value ?? 0))) * 1.1;
  const x = (place: number, count: number) => ((place + most - count) / (most - 1)) * WIDTH;
  const step = WIDTH / (most - 1);
  const words = series.map((one) => `${one.name}: ${said(one.values)}`).join("; ");
  return (
    <figure className="chart">
      <figcaption>
        <span>{title}</span>
        <strong>{now}</strong>
        {note ? <small>{note}</small> : null}
      </figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`${title}. ${words}`}>
        {outages.map((away, place) =>
          away ? (
            <rect key={place} className="away" x={x(place, outages.length) - step} y={0} width={step + 0.5} height={HEIGHT} />
          ) : null,
        )}
        {series.map((one) => (
          <path
            key={one.name}
            d={path(one.values, (place) => x(place, one.values.length), highest)}
            strokeDasharray={one.dash}
            vectorEffect="non-scaling-stroke"
          />
        ))}
      </svg>
    </figure>
  );
}

function path(values: readonly (number | null)[], x: (place: number) => number, top: number): string {
  let drawn = "";
  values.forEach((value, place) => {
    if (value === null) return;
    const begins = place === 0 || values[place - 1] === null;
    const y = HEIGHT - 2 - (Math.min(value, top) / top) * (HEIGHT - 4);
    drawn += `${begins ? "M" : "L"}${x(place).toFixed(1)} ${y.toFixed(1)}`;
  });
  return drawn;
}

function said(values: readonly (number | null)[]): string {
  const known = values.filter((value) => value !== null);
  const newest = known.at(-1);
  if (newest === undefined) return "nothing yet";
  return `${number(newest)} now, ${number(Math.min(...known))} to ${number(Math.max(...known))}`;
}

export function number(value: number | null, digits = 0): string {
  if (value === null) return "–";
  const places = Math.abs(value) < 10 && value !== Math.round(value) ? Math.max(digits, 1) : digits;
  return value.toLocaleString(undefined, { maximumFractionDigits: places });
}

export function percent(value: number | null): string {
  return value === null ? "–" : `${(value * 100).toFixed(value > 0.995 && value < 1 ? 2 : 1)} %`;
}

export function milliseconds(value: number | null): string {
  if (value === null) return "–";
  return `${value.toLocaleString(undefined, { maximumSignificantDigits: 2 })} ms`;
}

export function bytes(value: number | null): string {
  if (value === null) return "–";
  return `${(value / 2 ** 20).toLocaleString(undefined, { maximumFractionDigits: 1 })} MB`;
}
