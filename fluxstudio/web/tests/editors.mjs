// Official Socket.IO clients, driven over standard input and output: one JSON array a line.
// In:  ["open", name, url, cookie] · ["ask", name, number, patience in ms, event, data] · ["close", name]
// Out: ["connect", name, recovered] · ["event", name, event, …data] · ["answer", name, number, answer or null]
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const sockets = new Map();
const tell = (...words) => process.stdout.write(`${JSON.stringify(words)}\n`);

const orders = {
  open(name, url, cookie) {
    const options = { forceNew: true, transports: ["websocket"], reconnectionDelay: 100, reconnectionDelayMax: 500 };
    const socket = io(url, { ...options, extraHeaders: { Cookie: cookie } });
    sockets.set(name, socket);
    socket.on("connect", () => tell("connect", name, socket.recovered));
    socket.on("disconnect", (reason) => {
      if (reason === "io server disconnect") setTimeout(() => socket.connect(), 200);
    });
    socket.on("connect_error", () => {
      if (!socket.active) setTimeout(() => socket.connect(), 200);
    });
    socket.onAny((event, ...data) => tell("event", name, event, ...data));
  },
  async ask(name, number, patience, event, data) {
    const socket = sockets.get(name);
    if (!socket.connected) return tell("answer", name, number, null);
    try {
      tell("answer", name, number, await socket.timeout(patience).emitWithAck(event, data));
    } catch {
      tell("answer", name, number, null);
    }
  },
  close: (name) => sockets.get(name).disconnect(),
};

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [order, ...words] = JSON.parse(line);
    orders[order](...words);
  })
  .on("close", () => process.exit(0));
