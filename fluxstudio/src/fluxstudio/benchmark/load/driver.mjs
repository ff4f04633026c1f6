// Plays a request file against a server with autocannon and writes what came back, endpoint by endpoint.
//
//   node driver.mjs JOB.json
//
// JOB.json is `Job` in ../loadgen.py, the request file is `Plan` in ../plan.py and the result `Observed` in
// ../loadgen.py. Once a second one line of JSON goes to standard output, for the progress display.
//
// Two things are taken from the client's events and not from autocannon's own summary:
// - latency, because the summary is one histogram in whole milliseconds for all endpoints together. Here it is
//   the time from writing the request to the end of its answer, in microseconds, kept per endpoint;
// - lost answers: when a server closes a connection autocannon reconnects and sends the next request without
//   counting the one that was never answered.

import { readFileSync, writeFileSync } from 'node:fs'
import autocannon from 'autocannon'

const job = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const plan = JSON.parse(readFileSync(job.plan, 'utf8'))
const origin = new URL(job.url).origin

const now = () => performance.now()
const began = now()
const opens = began + job.ramp_s * 1000 // the measured window
const closes = job.amount ? Infinity : opens + job.seconds * 1000

const seen = {
  latencies_us: Object.fromEntries(plan.kinds.map((kind) => [kind, []])),
  statuses: {}, // every answer, by endpoint and status
  timeouts: 0,
  socket_errors: {},
  unanswered: 0,
  answered: 0, // within the window
  sent: 0,
  wrapped: 0, // clients that ran out of requests and began again
  window_s: job.seconds
}

/** Client `index` of `of` plays its own stretch of the file: no two play the same requests. */
function stretch (index, of) {
  const length = Math.floor(plan.requests.length / of)
  return plan.requests.slice(index * length, (index + 1) * length).map(([kind, cookie, method, path, body]) => {
    const headers = {}
    if (cookie >= 0) headers.cookie = plan.cookies[cookie]
    if (method !== 'GET') headers.origin = origin
    if (body) headers['content-type'] = 'application/json'
    return { kind, method, path, headers, ...(body ? { body } : {}) }
  })
}

let clients = 0

function setupClient (client) {
  const requests = stretch(clients++, job.clients)
  client.setRequests(requests)
  let made = 0
  let sentAt = 0
  let waiting = false
  client.on('request', () => { // just before the write
    if (waiting) seen.unanswered++
    if (made > 0 && made % requests.length === 0) seen.wrapped++
    made++
    seen.sent++
    waiting = true
    sentAt = now()
  })
  client.on('response', (status) => {
    const arrived = now()
    waiting = false
    const kind = plan.kinds[requests[(made - 1) % requests.length].kind]
    const byStatus = (seen.statuses[kind] ??= {})
    byStatus[status] = (byStatus[status] ?? 0) + 1
    if (arrived < opens || arrived >= closes) return
    seen.answered++
    if (status >= 200 && status < 300) seen.latencies_us[kind].push(Math.round((arrived - sentAt) * 1000))
  })
}

function onError (error) {
  if (error.message === 'request timed out') {
    seen.timeouts++
  } else {
    const name = error.code ?? error.message
    seen.socket_errors[name] = (seen.socket_errors[name] ?? 0) + 1
  }
}

function run (connections) {
  const instance = autocannon({
    url: job.url,
    connections,
    ...(job.amount ? { amount: job.amount } : { duration: Math.max(0.1, (closes - now()) / 1000) }),
    sampleInt: 100,
    timeout: job.timeout_s,
    setupClient,
    ...(job.requests_per_client_s ? { connectionRate: job.requests_per_client_s } : {})
  })
  instance.on('reqError', onError)
  return instance
}

/**
 * Paced clients send at the tick of their own second. Started together they would all send in the same
 * millisecond, so they start in groups spread over the first second.
 */
async function runPaced () {
  const groups = Math.min(job.clients, 100)
  const running = []
  for (let group = 0; group < groups; group++) {
    const from = Math.floor(group * job.clients / groups)
    const to = Math.floor((group + 1) * job.clients / groups)
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, began + group * 1000 / groups - now())))
    running.push(run(to - from))
  }
  await Promise.all(running)
}

const ticker = setInterval(() => {
  const line = { at_s: (now() - began) / 1000, sent: seen.sent, answered: seen.answered }
  process.stdout.write(JSON.stringify(line) + '\n')
}, 1000)

await (job.requests_per_client_s ? runPaced() : run(job.clients))

clearInterval(ticker)
const { user, system } = process.cpuUsage()
seen.cpu_s = (user + system) / 1e6
seen.run_s = now() / 1000 // since the process began
if (job.amount) seen.window_s = (now() - opens) / 1000
const failed = seen.timeouts + Object.values(seen.socket_errors).reduce((sum, n) => sum + n, 0)
seen.unanswered = Math.max(0, seen.unanswered - failed) // those were sent again too, and are counted already
writeFileSync(job.out, JSON.stringify(seen))
