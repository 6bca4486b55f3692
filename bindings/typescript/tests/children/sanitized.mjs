/**
 * Everything that passes the boundary, under a checker of memory: what the library forgot is found when the process ends. Every handle is
 * let go of before that; what JavaScript alone holds would look lost to the checker, which does not know its heap.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectBridge } from "../../packages/runtime/dist/bridge.js";
import { loadLibrary, openBowline, preview, PreviewData, serveBridge, subscribeLogs, waitFor } from "../../packages/runtime/dist/index.js";

const HOST = `srv_${"a".repeat(26)}`;
const AGENT = "agt_00000000-0000-7000-8000-000000000000";
const turn = () => new Promise((resolve) => setImmediate(resolve));
/** What must fail, fails as it should. */
const fails = async (kind, promise) => {
  const error = await promise.then(() => undefined, (error) => error);
  if (error?.kind !== kind) throw new Error(`${kind} was to be expected`, { cause: error });
};

loadLibrary();
let [calls, lines] = [0, 0];

/** Subscriptions that come and go, with values under way. */
async function subscriptions(data) {
  for (let n = 0; n < 300; n++) {
    const hosts = data.subscribeHosts({ onHosts: () => void calls++ });
    const timeline = data.subscribeTimeline({ onTimeline: () => void calls++ });
    data.append(`item ${n}`);
    data.grow(" and more");
    if (n % 3 === 0) await turn();
    hosts.cancel();
    timeline.cancel();
    hosts.isEnding();
    await Promise.all([hosts.ended(), timeline.ended(), timeline.ended()]);
    hosts.uniffiDestroy();
    timeline.uniffiDestroy();
  }
}

/** Listeners that throw until they are let go of, that call the library from inside, and that nobody cancels. */
async function listeners(data) {
  const failing = data.subscribeHosts({
    onHosts() {
      calls++;
      throw new Error("on purpose");
    },
  });
  const beat = setInterval(() => data.renameHost(String(calls)), 1);
  await failing.ended();
  clearInterval(beat);
  failing.uniffiDestroy();
  const inner = [];
  const outer = data.subscribeHosts({
    onHosts() {
      if (calls++ % 2 === 0) data.renameHost("from inside");
      inner.push(data.subscribeTimeline({ onTimeline() {} }));
      outer.cancel();
    },
  });
  await outer.ended();
  outer.uniffiDestroy();
  for (const subscription of inner) subscription.uniffiDestroy();
  // Destroyed without a word, a value under way.
  for (let n = 0; n < 100; n++) {
    const dropped = data.subscribeHosts({ onHosts: () => void calls++ });
    data.renameHost(String(n));
    dropped.uniffiDestroy();
    if (n % 10 === 0) await turn();
  }
}

/** Stores as views use them, and those of a process behind a bridge. */
async function stores(data) {
  const client = preview(data);
  const { port1, port2 } = new MessageChannel();
  serveBridge(client, port1);
  const far = connectBridge(port2);
  const screens = [client, far].map((client) => client.screen(HOST, { agentId: AGENT }));
  const ends = screens.map((screen) => screen.subscribe(() => void calls++));
  await data.burst(20_000, 0);
  data.append("the last one");
  for (const screen of screens) await waitFor(screen, ({ timeline }) => timeline.items.at(-1)?.text === "the last one");
  for (const end of ends) end();
  await fails("NotConnected", far.send(HOST, { kind: "cancel", agentId: AGENT }));
  far.close();
}

/** A runtime: opened, asked for what it has not, paused, and closed with calls under way. */
async function runtimes(offer) {
  const storageFolder = mkdtempSync(join(tmpdir(), "bowline-ts-"));
  const options = { storageFolder, appName: "sanitized", appVersion: "1" };
  await openBowline(options).close();
  const hosts = [{ serverId: HOST, name: "host", transportKey: Buffer.alloc(32, 7).toString("base64url"), addresses: [{ path: "direct", address: "127.0.0.1:1" }] }];
  writeFileSync(join(storageFolder, "hosts.json"), JSON.stringify({ version: 1, hosts }));
  const values = new Map([["profile.json", readFileSync(join(storageFolder, "profile.json"))]]);
  const keyStore = { read: (name) => values.get(name), write: (name, value) => void values.set(name, value.slice()) };
  for (let n = 0; n < 12; n++) {
    const bowline = openBowline(n % 2 === 0 ? options : { ...options, keyStore });
    const ends = [bowline.hosts, bowline.directory, bowline.screen(HOST, { agentId: AGENT })].map((store) => store.subscribe(() => void calls++));
    await waitFor(bowline.hosts, (view) => view.ready);
    await fails("InvalidOffer", bowline.pair("no offer"));
    await fails("InvalidIdentity", bowline.send("nobody", { kind: "cancel", agentId: AGENT }));
    await bowline.send(HOST, { kind: "sendPrompt", agentId: AGENT, text: "kept for ever" });
    await bowline.send(HOST, { kind: "createAgent", provider: "shell", cwd: "/", title: "title", prompt: "echo" });
    await bowline.loadOlder(HOST, AGENT);
    await bowline.refresh();
    await bowline.pause();
    await fails("Paused", bowline.send(HOST, { kind: "cancel", agentId: AGENT }));
    await bowline.resume();
    // Somebody answers there, and not as a daemon would; nobody answers here, and the end comes first.
    const over = Promise.all([bowline.pair(offer), bowline.providers(HOST)].map((call) => call.catch(({ kind }) => kind)));
    if (n % 2 === 0) await turn();
    if (n % 3 === 0) for (const end of ends) end();
    if (n % 4 === 0) {
      // Closed from inside of a callback.
      await new Promise((resolve) => {
        const end = bowline.hosts.subscribe(() => {
          end();
          resolve(bowline.close());
        });
        // Done, or ended by the end, whichever comes first.
        bowline.forgetHost(HOST).catch(({ kind }) => void (kind === "Closed" || process.exit(2)));
      });
      writeFileSync(join(storageFolder, "hosts.json"), JSON.stringify({ version: 1, hosts }));
    }
    await bowline.close();
    for (const kind of await over) if (!/^(Unreachable|Closed|NotConnected)$/.test(kind)) throw new Error(`a call ended with ${kind}`);
  }
  await fails("CorruptStorage", (async () => {
    writeFileSync(join(storageFolder, "profile.json"), "{}");
    openBowline(options);
  })());
  rmSync(storageFolder, { recursive: true });
}

const end = subscribeLogs("trace", (batch) => void (lines += batch.records.length));
const garbage = createServer((socket) => socket.on("error", () => {}).end("this is no daemon\r\n")).listen(0, "127.0.0.1");
await new Promise((resolve) => garbage.once("listening", resolve));
const [key, token] = [Buffer.alloc(32, 9), Buffer.alloc(16, 9)].map((bytes) => bytes.toString("base64url"));
const offer = `bowline://pair?v=1&s=srv_${"b".repeat(26)}&k=${key}&t=${token}&n=nobody&d=127.0.0.1%3A${garbage.address().port}`;
const data = new PreviewData(5, 200);
await subscriptions(data);
await listeners(data);
await stores(data);
await runtimes(offer);
garbage.close();
end();
// Until what ended was let go of, and what nobody holds was collected.
for (let n = 0; n < 5; n++) {
  globalThis.gc();
  await new Promise((resolve) => setTimeout(resolve, 100));
}
data.uniffiDestroy();
console.log(`${calls} callbacks, ${lines} lines of the log`);
process.exit(0);
