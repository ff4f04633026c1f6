/** Hands for plays with the library of shapes. */
import { draw } from "./stage.mjs";

const canvas = ".excalidraw canvas.interactive";
const unit = ".library-unit__active:not(:has(.library-unit__adder))";

/** Draws something and puts it into the library. */
export async function add(page, x, y) {
  await draw(page, x, y);
  const box = await page.locator(canvas).boundingBox();
  await page.mouse.click(box.x + x, box.y + y + 30); // on its edge: this one only
  await page.mouse.click(box.x + x, box.y + y + 30, { button: "right" });
  await page.locator(".context-menu").getByText("Add to library").click();
  await page.waitForSelector("text=Added to library");
  await page.keyboard.press("Escape");
}

async function openLibrary(page) {
  if ((await page.locator(".layer-ui__library").count()) > 0) return;
  await page.click("label.default-sidebar-trigger, .default-sidebar-trigger");
  await page.waitForSelector(".layer-ui__library");
}

/** Returns how many shapes the library shows. */
export async function shapes(page) {
  await openLibrary(page);
  return page.locator(unit).count();
}

/** Removes the first shape. */
export async function removeOne(page) {
  await openLibrary(page);
  await page.hover(unit);
  await page.locator(`${unit} .library-unit__checkbox`).first().click();
  await page.click(".library-menu-dropdown-container .dropdown-menu-button, .library-menu-dropdown-container button");
  await page.getByText("Remove", { exact: true }).click();
  await page.getByRole("button", { name: "Confirm" }).click();
}

/** Returns what the account has. */
export async function there(page) {
  const { items } = await page.evaluate(async () => (await fetch("/api/me/library")).json());
  return items.length;
}

/** What this browser keeps under a key; with `value`, puts it there. */
export function kept(page, key, value) {
  const work = ([name, given]) =>
    new Promise((resolve, reject) => {
      const opening = indexedDB.open("keyval-store");
      opening.onupgradeneeded = () => opening.result.createObjectStore("keyval");
      opening.onerror = () => reject(opening.error);
      opening.onsuccess = () => {
        const store = opening.result.transaction("keyval", "readwrite").objectStore("keyval");
        const asked = given === undefined ? store.get(name) : store.put(given, name);
        asked.onsuccess = () => resolve(asked.result ?? null);
        asked.onerror = () => reject(asked.error);
      };
    });
  return page.evaluate(work, [key, value]);
}
