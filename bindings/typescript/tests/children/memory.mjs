/** Subscribes and cancels, and takes updates, until memory would show what is left behind. */
import { loadLibrary, PreviewData } from "../../packages/runtime/dist/index.js";

loadLibrary();
const scale = Number(process.env.BOWLINE_TEST_SCALE ?? "1");
const preview = new PreviewData(3, 10);
const settled = async () => {
  for (let n = 0; n < 4; n++) {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return process.memoryUsage().rss / (1 << 20);
};

async function cycles(count) {
  for (let n = 0; n < count; n++) {
    const subscription = preview.subscribeHosts({ onHosts() {} });
    subscription.cancel();
    await subscription.ended();
    subscription.uniffiDestroy();
  }
}

async function updates(count) {
  let calls = 0;
  const subscription = preview.subscribeHosts({ onHosts: () => void calls++ });
  await preview.burst(count, 0);
  subscription.cancel();
  await subscription.ended();
  subscription.uniffiDestroy();
  return calls;
}

await cycles(1_000 * scale);
await updates(100_000 * scale);
const before = await settled();
await cycles(10_000 * scale);
const between = await settled();
const calls = await updates(1_000_000 * scale);
const after = await settled();
console.log({ before, between, after, calls });
// What a heap keeps for later is no leak; one of a hundred bytes an update would be a hundred MiB.
const grown = after - before;
console.log(grown < 24 ? "flat" : `grew by ${grown.toFixed(1)} MiB`);
process.exit(grown < 24 ? 0 : 1);
