/** Everybody's colour: the same for all who look, and readable with white letters on it. */
export function colourOf(id: number | string): string {
  let hash = 2166136261;
  for (const char of String(id)) hash = Math.imul(hash ^ char.charCodeAt(0), 16777619);
  return `hsl(${(hash >>> 0) % 360} 55% 38%)`;
}

export function Avatar({ id, name, title }: { id: number | string; name: string; title?: string }) {
  const letters = name
    .split(/\s+/)
    .slice(0, 2)
    .map((word) => Array.from(word)[0] ?? "")
    .join("")
    .toUpperCase();
  return (
    <span className="avatar" style={{ background: colourOf(id) }} title={title ?? name} aria-hidden="true">
      {letters || "?"}
    </span>
  );
}
