/**
 * Waits for calls with nothing subscribed, forgets to close the client, and comes to its end by itself, a log still subscribed: a call that
 * is waited for keeps the process, and nothing else does.
 */
import { createServer } from "node:net";
import { openBowline, subscribeLogs } from "../../packages/runtime/dist/index.js";

// It keeps nobody: neither its timers nor its sockets are a reason for the process to go on.
const silent = createServer((socket) => {
  socket.unref().on("error", () => {});
  setTimeout(() => socket.destroy(), 300).unref();
}).listen(0, "127.0.0.1");
await new Promise((resolve) => silent.once("listening", resolve));
silent.unref();
subscribeLogs("trace", () => {});
const [key, token] = [Buffer.alloc(32, 9), Buffer.alloc(16, 9)].map((bytes) => bytes.toString("base64url"));
const address = encodeURIComponent(`127.0.0.1:${silent.address().port}`);
const offer = `bowline://pair?v=1&s=srv_${"b".repeat(26)}&k=${key}&t=${token}&n=nobody&d=${address}`;

await (async () => {
  const forgotten = openBowline({ storageFolder: process.argv[2], appName: "tests", appVersion: "1" });
  forgotten.hosts.subscribe(() => {})();
  await forgotten.pause();
  await forgotten.resume();
  const kind = await forgotten.pair(offer).then(() => "paired", ({ kind }) => kind);
  console.log(kind);
})();
for (let n = 0; n < 3; n++) {
  globalThis.gc();
  await new Promise((resolve) => setImmediate(resolve));
}
console.log("the end");
