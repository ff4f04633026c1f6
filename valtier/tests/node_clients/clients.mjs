// Official Socket.IO clients, driven over standard input and output: one JSON array a line.
// In:  ["open", name, url, options] · ["emit", name, event, …data] · ["ask", name, event, …data] · ["cut", name]
//      ["url", name, url] (where to reconnect to) · ["freeze", name] (stay away) · ["thaw", name] (come back)
//      ["rooms", name, rooms] (what to ask for when connecting) · ["close", name]
// Out: ["upgrade", name, transport] · ["connect", name, id, recovered] · ["disconnect", name, reason] · ["error", name, message]
//      ["event", name, event, …data] · ["ack", name, …data]
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const sockets = new Map();
const tell = (...words) => process.stdout.write(JSON.stringify(words) + "\n");

function open(name, url, options) {
  const socket = io(url, { forceNew: true, transports: ["websocket"], reconnectionDelay: 50, reconnectionDelayMax: 200, ...options });
  sockets.set(name, socket);
  socket.io.engine.on("upgrade", (transport) => tell("upgrade", name, transport.name));
  socket.on("connect", () => tell("connect", name, socket.id, Boolean(socket.recovered)));
  socket.on("disconnect", (reason) => tell("disconnect", name, reason));
  socket.on("connect_error", (error) => tell("error", name, error.message));
  socket.onAny((event, ...data) => {
    const answer = typeof data.at(-1) === "function" ? data.pop() : null;
    tell("event", name, event, ...data);
    if (answer) answer(name);
  });
}

const orders = {
  open,
  emit: (name, event, ...data) => sockets.get(name).emit(event, ...data),
  ask: (name, event, ...data) => sockets.get(name).emit(event, ...data, (...answer) => tell("ack", name, ...answer)),
  cut: (name) => sockets.get(name).io.engine.close(),
  url: (name, url) => { sockets.get(name).io.uri = url; const u = new URL(url); Object.assign(sockets.get(name).io.opts, { hostname: u.hostname, port: u.port }); },
  freeze: (name) => { const manager = sockets.get(name).io; manager.reconnection(false); manager.engine.close(); },
  thaw: (name) => { const manager = sockets.get(name).io; manager.reconnection(true); manager.open(); },
  rooms: (name, rooms) => { sockets.get(name).auth = { rooms }; },
  close: (name) => sockets.get(name).disconnect(),
};

createInterface({ input: process.stdin }).on("line", (line) => {
  const [order, ...words] = JSON.parse(line);
  orders[order](...words);
}).on("close", () => process.exit(0));
tell("ready");
