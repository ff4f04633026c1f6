import { createHash } from "node:crypto";
import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";

import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "src", "fluxstudio", "static");
const compressible = new Set([".js", ".css", ".html", ".svg", ".json"]);

/** Puts Excalidraw's fonts beside the rest: everything is served by the studio itself. */
function fonts(): Plugin {
  return {
    name: "excalidraw-fonts",
    apply: "build",
    async closeBundle() {
      const from = join(here, "node_modules/@excalidraw/excalidraw/dist/prod/fonts");
      await cp(from, join(out, "excalidraw/fonts"), { recursive: true });
    },
  };
}

/** Excalidraw names another site as the last resort for its fonts, which the policy forbids: there is only this one. */
function onlyOwnFonts(): Plugin {
  const elsewhere = /`https:\/\/esm\.sh\/\$\{[^`]*`[^`]*`[^`]*`/;
  return {
    name: "only-own-fonts",
    apply: "build",
    transform(code, id) {
      if (!id.includes("@excalidraw/excalidraw") || !code.includes("ASSETS_FALLBACK_URL")) return undefined;
      const without = code.replace(elsewhere, 'new URL("/excalidraw/", window.location.origin).toString()');
      if (without.includes("esm.sh")) this.error("Excalidraw names its fonts' last resort in another way now");
      return { code: without, map: null };
    },
  };
}

/** Compresses once, so that no worker has to. */
function precompress(): Plugin {
  return {
    name: "precompress",
    apply: "build",
    enforce: "post",
    async closeBundle() {
      const names = await readdir(out, { recursive: true });
      await Promise.all(
        names
          .filter((name) => compressible.has(extname(name)) && !name.startsWith("excalidraw"))
          .map(async (name) => {
            const content = await readFile(join(out, name));
            if (content.length < 1024) return;
            const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } };
            await writeFile(join(out, `${name}.br`), await promisify(brotliCompress)(content, quality));
            await writeFile(join(out, `${name}.gz`), await promisify(gzip)(content, { level: 9 }));
          }),
      );
      const hash = createHash("sha256");
      for (const name of names.sort()) hash.update(name);
      await writeFile(join(out, ".built"), hash.digest("hex"));
    },
  };
}

export default defineConfig({
  plugins: [react(), onlyOwnFonts(), fonts(), precompress()],
  build: {
    outDir: out,
    emptyOutDir: true,
    target: "es2022",
    sourcemap: false,
    chunkSizeWarningLimit: 4000,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/api": "http://127.0.0.1:8000", "/socket.io": { target: "http://127.0.0.1:8000", ws: true } } },
});
