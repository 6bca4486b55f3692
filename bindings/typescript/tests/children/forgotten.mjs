/** Forgets a subscription, and waits for its listener to be let go. */
import { loadLibrary, PreviewData } from "../../packages/runtime/dist/index.js";

loadLibrary();
const preview = new PreviewData(1, 0);
let calls = 0;
(() => {
  preview.subscribeHosts({ onHosts: () => void calls++ });
})();
const deadline = Date.now() + 20_000;
for (;;) {
  globalThis.gc();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const before = calls;
  preview.renameHost(String(Math.random()));
  await new Promise((resolve) => setTimeout(resolve, 20));
  if (calls === before) break;
  if (Date.now() > deadline) process.exit(1);
}
console.log("gone");
process.exit(0);
