/** What axe finds serious on a screen. */
import { readFile } from "node:fs/promises";

const axe = await readFile(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

/** Returns what axe finds serious, as lines to read. */
export async function faults(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(
      // Excalidraw's own panels are Excalidraw's.
      { exclude: [[".excalidraw"]] },
      { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] },
    ),
  );
  return violations
    .filter((one) => one.impact === "serious" || one.impact === "critical")
    .flatMap((one) => one.nodes.map((node) => `${page.url()}: ${one.id}: ${node.html.slice(0, 160)}`));
}
