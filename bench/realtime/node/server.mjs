// Node's Socket.IO server with the Redis streams adapter, with the same handlers and control as bench/realtime/worker.py.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";

const [, , port, url] = process.argv;
const client = createClient({ url });
client.on("error", () => {});
await client.connect();

const now = () => Number(process.hrtime.bigint());
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const orders = {
  pid: () => process.pid,
  async flow({ room, who, per_second, count, padding }) {
    const begin = performance.now();
    const x = "x".repeat(padding);
    for (let n = 0; n < count; n++) {
      const wait = begin + (n * 1000) / per_second - performance.now();
      if (wait > 0) await sleep(wait);
      io.to(room).emit("said", { t: now(), f: who, n, x });
    }
    return 0;
  },
  clients: () => io.sockets.sockets.size,
};

const http = createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  try {
    const { do: name, ...words } = JSON.parse(body);
    response.end(JSON.stringify((await orders[name](words)) ?? null));
  } catch (error) {
    response.statusCode = 500;
    response.end(JSON.stringify(String(error)));
  }
});

const io = new Server(http, {
  transports: ["websocket"],
  adapter: createAdapter(client),
  connectionStateRecovery: { maxDisconnectionDuration: 120_000 },
});
io.on("connection", (socket) => {
  for (const room of socket.handshake.auth.rooms ?? []) socket.join(room);
  socket.on("cursor", (room, key, at) => io.to(room).volatile.emit("cursors", { [key]: at }));
});
http.listen(Number(port), "127.0.0.1");
