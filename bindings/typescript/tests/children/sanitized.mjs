/** Everything that passes the boundary, under a checker of memory. A leak of the library is found at the end. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadLibrary, openBowline, Rehearsal, subscribeLogs } from "../../packages/runtime/dist/index.js";

loadLibrary();
const end = subscribeLogs("debug", () => {});
const rehearsal = new Rehearsal(5, 200);
let calls = 0;
for (let n = 0; n < 1_000; n++) {
  const hosts = rehearsal.subscribeHosts({ onHosts: () => void calls++ });
  const timeline = rehearsal.subscribeTimeline({ onTimeline: () => void calls++ });
  rehearsal.append(`item ${n}`);
  rehearsal.grow(" and more");
  if (n % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
  hosts.cancel();
  timeline.cancel();
  await hosts.ended();
  await timeline.ended();
  hosts.uniffiDestroy();
  timeline.uniffiDestroy();
}
const failing = rehearsal.subscribeHosts({
  onHosts() {
    throw new Error("on purpose");
  },
});
const beat = setInterval(() => rehearsal.renameHost(String(++calls)), 1);
await failing.ended();
clearInterval(beat);
failing.uniffiDestroy();
const steady = rehearsal.subscribeHosts({ onHosts: () => void calls++ });
await rehearsal.burst(100_000, 0);
steady.cancel();
await steady.ended();
steady.uniffiDestroy();
const storageFolder = mkdtempSync(join(tmpdir(), "bowline-ts-"));
for (let n = 0; n < 20; n++) {
  const bowline = openBowline({ storageFolder, appName: "sanitized", appVersion: "1" });
  const stop = bowline.hosts.subscribe(() => {});
  await bowline.pair("no offer").catch(() => {});
  await bowline.send("nobody", { kind: "cancel", agentId: "a" }).catch(() => {});
  await bowline.pause();
  await bowline.resume();
  stop();
  await bowline.close();
}
rmSync(storageFolder, { recursive: true });
end();
rehearsal.uniffiDestroy();
globalThis.gc();
console.log(`${calls} callbacks`);
