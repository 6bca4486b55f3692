/** Opens a client in a worker thread, then in the main thread of the same process, and while that is open in a worker again. */
import { fileURLToPath } from "node:url";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import { openBowline, waitFor } from "../../packages/runtime/dist/index.js";

async function shown(where, storageFolder) {
  const bowline = openBowline({ storageFolder, appName: "tests", appVersion: "1" });
  const { hosts } = await waitFor(bowline.hosts, ({ ready }) => ready);
  await bowline.close();
  return `${where}: ${hosts.length} hosts`;
}

const run = async (name) => {
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: `${process.argv[2]}/${name}` });
  worker.on("message", (line) => console.log(line));
  const code = await new Promise((resolve, reject) => worker.once("exit", resolve).once("error", reject));
  if (code !== 0) throw new Error(`the worker ended with ${code}`);
};

if (isMainThread) {
  await run("a");
  await run("b");
  const bowline = openBowline({ storageFolder: `${process.argv[2]}/c`, appName: "tests", appVersion: "1" });
  await run("d");
  // What the library tells still arrives here.
  await waitFor(bowline.hosts, ({ ready }) => ready);
  await bowline.close();
  console.log("main: told");
} else {
  parentPort.postMessage(await shown("worker", workerData).catch(({ kind }) => `worker: ${kind}`));
}
