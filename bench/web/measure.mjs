/** Measures the studio in Chromium, as bench.web asks, and prints what it found as JSON. */
import { createRequire } from "node:module";
import { gzipSync } from "node:zlib";

const require = createRequire(new URL("../../fluxstudio/web/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const { io } = require("socket.io-client");

const asked = JSON.parse(process.argv[2]);
const browser = await launch();
const version = browser.version();

function launch() {
  return chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
}

/** Somebody who is signed in (or nobody) at one of the workers, in a browser that has seen nothing yet. */
async function visitor(number, from = browser, token = asked.tokens[number]) {
  const url = asked.addresses[number];
  const context = await from.newContext({ baseURL: url, viewport: { width: 1280, height: 800 } });
  if (token) await context.addCookies([{ name: "flux", value: token, url }]);
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  return page;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const quantile = (values, share) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))] ?? 0;

// -- visits: when the list of projects is on the screen ----------------------------------------------------

/** In the page: notes when the frame after the first tile has been made. */
function watchTiles() {
  const look = () => {
    if (document.querySelector(".tile") === null) return false;
    requestAnimationFrame(() => requestAnimationFrame(() => (window.shownAt = performance.now())));
    return true;
  };
  const observer = new MutationObserver(() => look() && observer.disconnect());
  observer.observe(document, { childList: true, subtree: true });
}

async function visit(page) {
  await page.goto("/");
  await page.waitForFunction(() => window.shownAt !== undefined);
  return page.evaluate(() => window.shownAt);
}

async function visits() {
  const warm = [];
  const cold = [];
  const page = await visitor(0);
  await page.addInitScript(watchTiles);
  await visit(page);
  for (let n = 0; n < asked.visits; n += 1) {
    await pause(300);
    warm.push(await visit(page));
  }
  await page.context().close();
  for (let n = 0; n < Math.ceil(asked.visits / 4); n += 1) {
    const fresh = await visitor(0);
    await fresh.addInitScript(watchTiles);
    cold.push(await visit(fresh));
    await fresh.context().close();
  }
  return [
    { what: "Projects, warm", took_ms: warm },
    { what: "Projects, with an empty cache", took_ms: cold },
  ];
}

// -- weight: the JavaScript of a screen --------------------------------------------------------------------

async function weigh(what, path, ready, token = asked.tokens[0]) {
  const page = await visitor(0, browser, token);
  const network = await page.context().newCDPSession(page);
  await network.send("Network.enable");
  const sent = new Map();
  const scripts = new Map();
  network.on("Network.responseReceived", ({ requestId, response }) => {
    if (/javascript/.test(response.mimeType)) scripts.set(requestId, response.url);
  });
  network.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => sent.set(requestId, encodedDataLength));
  await page.goto(path);
  await page.waitForSelector(ready);
  await pause(1_500);
  let [zipped, wire] = [0, 0];
  let board = false;
  for (const [id, url] of scripts) {
    const { body, base64Encoded } = await network.send("Network.getResponseBody", { requestId: id });
    zipped += gzipSync(Buffer.from(body, base64Encoded ? "base64" : "utf8"), { level: 9 }).length;
    wire += sent.get(id) ?? 0;
    board ||= body.includes("excalidraw__canvas") || /excalidraw/i.test(new URL(url).pathname);
  }
  await page.context().close();
  return { what, files: scripts.size, gzip_kb: zipped / 1000, sent_kb: wire / 1000, board };
}

async function weights() {
  const board = `/projects/${asked.project}/boards/${asked.board}`;
  return [
    await weigh("the sign-in", "/sign-in", "h1", null),
    await weigh("Projects", "/", ".tile"),
    await weigh("a board", board, ".board[data-ready=true]"),
  ];
}

// -- frames: a board on which many move --------------------------------------------------------------------

/** Guests whose cursors go round, on both workers. Returns what ends them. */
async function crowd() {
  const sockets = [];
  for (let n = 0; n < asked.cursors; n += 1) {
    const socket = io(asked.addresses[n % 2], { transports: ["websocket"], auth: { share: asked.share }, forceNew: true });
    await new Promise((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("connect_error", reject);
    });
    await socket.emitWithAck("board:join", { board_id: asked.board, since: 1_000_000 });
    sockets.push(socket);
  }
  const began = performance.now();
  const timers = sockets.map((socket, n) =>
    setInterval(() => {
      const turn = (performance.now() - began) / 1000 + n;
      const [x, y] = [600 + Math.cos(turn) * (60 + n * 9), 330 + Math.sin(turn * 1.3) * (40 + n * 5)];
      socket.volatile.emit("cursor", { board_id: asked.board, x, y, tool: "pointer", button: "up" });
    }, 1000 / asked.hz),
  );
  return () => {
    timers.forEach(clearInterval);
    sockets.forEach((socket) => socket.disconnect());
  };
}

/** In the page: counts messages with cursors, and keeps the times between frames. */
function watchFrames() {
  window.cursorMessages = 0;
  const Native = window.WebSocket;
  window.WebSocket = class extends Native {
    constructor(...words) {
      super(...words);
      this.addEventListener("message", ({ data }) => {
        if (typeof data === "string" && data.includes('"cursors"')) window.cursorMessages += 1;
      });
    }
  };
}

/** Draws a selection with the mouse, sixty times a second, until it is told to end: so that each frame is another. */
async function drag(page, ended) {
  const box = await page.locator(".excalidraw canvas.interactive").boundingBox();
  await page.mouse.move(box.x + 300, box.y + 420);
  await page.mouse.down();
  for (let n = 0; !ended(); n += 1) {
    await page.mouse.move(box.x + 500 + Math.cos(n / 20) * 150, box.y + 300 + Math.sin(n / 20) * 100);
    await pause(15);
  }
  await page.mouse.up();
}

async function countFrames(page, what) {
  const tracer = await page.context().newCDPSession(page);
  const events = [];
  tracer.on("Tracing.dataCollected", ({ value }) => events.push(...value));
  const complete = new Promise((resolve) => tracer.once("Tracing.tracingComplete", resolve));
  await tracer.send("Tracing.start", {
    transferMode: "ReportEvents",
    traceConfig: {
      includedCategories: ["toplevel", "devtools.timeline.frame", "disabled-by-default-devtools.timeline.frame"],
    },
  });
  let done = false;
  const dragging = drag(page, () => done);
  const [gaps, messages] = await page.evaluate(
    (seconds) =>
      new Promise((resolve) => {
        const gaps = [];
        const before = window.cursorMessages;
        // Chromium draws only what has changed: a dot that does so in each frame shows which frames could be drawn.
        const dot = document.body.appendChild(document.createElement("div"));
        dot.style.cssText = "position:fixed;left:0;bottom:0;width:2px;height:2px;z-index:9999";
        const end = performance.now() + seconds * 1000;
        let last = performance.now();
        const frame = (now) => {
          gaps.push(now - last);
          dot.style.background = gaps.length % 2 ? "#000" : "#fff";
          last = now;
          if (now < end) requestAnimationFrame(frame);
          else resolve([gaps.slice(1), window.cursorMessages - before]);
        };
        requestAnimationFrame(frame);
      }),
    asked.seconds,
  );
  done = true;
  await dragging;
  await tracer.send("Tracing.end");
  await complete;
  const drawn = events.filter((event) => event.name === "DrawFrame");
  const [first, last] = [drawn[0]?.ts ?? 0, drawn.at(-1)?.ts ?? 0];
  const tasks = busiest(events);
  return {
    what,
    fps: last > first ? ((drawn.length - 1) / (last - first)) * 1e6 : 0,
    p50_ms: quantile(gaps, 0.5),
    p95_ms: quantile(gaps, 0.95),
    longest_ms: Math.max(0, ...gaps),
    cursors_hz: messages / asked.seconds,
    busy: Math.min(1, tasks / (asked.seconds * 1e6)),
  };
}

/** Returns for how many µs the busiest thread ran tasks: the page's main thread. */
function busiest(events) {
  const byThread = new Map();
  for (const event of events) {
    if (!/\bRunTask$/.test(event.name) || !event.dur) continue;
    const thread = `${event.pid}:${event.tid}`;
    byThread.set(thread, (byThread.get(thread) ?? 0) + event.dur);
  }
  return Math.max(0, ...byThread.values());
}

async function frames() {
  const page = await visitor(0);
  await page.addInitScript(watchFrames);
  await page.goto(`/projects/${asked.project}/boards/${asked.board}`);
  await page.waitForSelector(".board[data-ready=true]");
  await pause(2_000);
  const end = await crowd();
  await pause(2_000);
  const found = await countFrames(page, `${asked.cursors} cursors over ${asked.elements.toLocaleString("en")} elements, while one selects`);
  end();
  await page.context().close();
  return [found];
}

// -- latency: a cursor from one browser to another ---------------------------------------------------------

/** In the page: keeps when this mouse moved to an x that was sent, and when the frame after another's x came. */
function watchCursors() {
  window.cursorsSent = [];
  window.cursorsSeen = [];
  let moved = 0;
  window.addEventListener("pointermove", (event) => (moved = performance.timeOrigin + event.timeStamp), { capture: true });
  const told = (text) => JSON.parse(text.slice(text.indexOf("[")));
  const Native = window.WebSocket;
  window.WebSocket = class extends Native {
    constructor(...words) {
      super(...words);
      this.addEventListener("message", ({ data }) => {
        if (typeof data !== "string" || !data.includes('"cursors"')) return;
        const cursors = Object.values(told(data)[1]);
        requestAnimationFrame((at) => {
          for (const { x, y } of cursors) window.cursorsSeen.push([`${x}:${y}`, performance.timeOrigin + at]);
        });
      });
    }

    send(data) {
      if (typeof data === "string" && data.includes('["cursor",')) {
        const { x, y } = told(data)[1];
        window.cursorsSent.push([`${Math.round(x * 100) / 100}:${Math.round(y * 100) / 100}`, moved]);
      }
      super.send(data);
    }
  };
}

async function latencies() {
  const other = await launch();
  try {
    const pages = await Promise.all([visitor(0), visitor(1, other)]);
    for (const page of pages) {
      await page.addInitScript(watchCursors);
      await page.goto(`/projects/${asked.project}/boards/${asked.board}`);
      await page.waitForSelector(".board[data-ready=true]");
    }
    const [one, two] = pages;
    await pause(1_500);
    const box = await one.locator(".excalidraw canvas.interactive").boundingBox();
    for (let n = 0; n < asked.moves; n += 1) {
      await one.mouse.move(box.x + 200 + ((n * 7) % 400) + n / asked.moves, box.y + 150 + ((n * 3) % 200));
      await pause(45);
    }
    await pause(1_000);
    const sent = await one.evaluate(() => window.cursorsSent);
    const seen = new Map((await two.evaluate(() => window.cursorsSeen)).reverse()); // of one place the first sight
    const took = sent.flatMap(([place, at]) => (seen.has(place) ? [seen.get(place) - at] : []));
    return [{ what: "A cursor, from one browser and worker to another", sent: sent.length, seen: took.length, took_ms: took }];
  } finally {
    await other.close();
  }
}

try {
  const found = { visits: await visits(), weights: await weights(), frames: await frames(), latencies: await latencies() };
  console.log(JSON.stringify({ ...found, chromium: `Chromium ${version}` }));
} finally {
  await browser.close();
}
