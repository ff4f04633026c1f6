// An official Socket.IO client in a project: says something all the time, and prints what it hears, one JSON array a line.
// Arguments: URL, Cookie, the project's id. In: a line ends the talking. Out: ["connect", id, recovered] ·
// ["disconnect", reason] · ["joined"] · ["heard", body] · ["said", body] · ["done"]
import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, cookie, project] = process.argv.slice(2);
const project_id = Number(project);
const tell = (...words) => process.stdout.write(JSON.stringify(words) + "\n");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
let talking = true;

const socket = io(url, {
  transports: ["websocket"],
  extraHeaders: { Cookie: cookie },
  reconnectionDelay: 100,
  reconnectionDelayMax: 500,
});

socket.on("connect", async () => {
  tell("connect", socket.id, socket.recovered);
  if (socket.recovered) return; // its rooms are still its own
  const answer = await socket.timeout(10_000).emitWithAck("project:join", { project_id });
  tell(answer.ok ? "joined" : "refused", answer);
});
socket.on("disconnect", (reason) => tell("disconnect", reason));
socket.on("connect_error", (error) => tell("error", error.message));
socket.on("message:new", ({ message }) => tell("heard", message.body));

async function talk() {
  for (let number = 0; talking; number++) {
    const body = `spoken ${number}`;
    const client_id = randomUUID(); // said twice, it is one message
    for (let said = false; !said; ) {
      try {
        const answer = await socket.timeout(5_000).emitWithAck("message:send", { project_id, body, client_id });
        said = answer.ok;
        if (!said) tell("refused", answer);
      } catch {
        await pause(50); // the connection went; it is said again on the next one
      }
    }
    tell("said", body);
    await pause(400);
  }
  tell("done");
}

socket.once("connect", talk);
createInterface({ input: process.stdin })
  .on("line", () => (talking = false))
  .on("close", () => process.exit(0));
