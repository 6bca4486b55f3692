/** Opens a client in two worker threads, one after the other, and then in the main thread of the same process. */
import { fileURLToPath } from "node:url";
import { Worker, isMainThread, workerData } from "node:worker_threads";
import { openBowline, waitFor } from "../../packages/runtime/dist/index.js";

async function shown(where, storageFolder) {
  const bowline = openBowline({ storageFolder, appName: "tests", appVersion: "1" });
  const { hosts } = await waitFor(bowline.hosts, ({ ready }) => ready);
  await bowline.close();
  return `${where}: ${hosts.length} hosts`;
}

if (isMainThread) {
  const folder = process.argv[2];
  for (const name of ["a", "b"]) {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: `${folder}/${name}` });
    worker.on("message", (line) => console.log(line));
    const code = await new Promise((resolve, reject) => worker.once("exit", resolve).once("error", reject));
    if (code !== 0) throw new Error(`the worker ended with ${code}`);
  }
  console.log(await shown("main", `${folder}/c`));
} else {
  const { parentPort } = await import("node:worker_threads");
  parentPort.postMessage(await shown("worker", workerData));
}
