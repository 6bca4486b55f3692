/** Processes of their own, for what concerns a whole process. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { workspace } from "./places.js";

const DEADLINE_MS = 50_000;

/** Runs a module in a process of its own, on the built package. */
export function child(name: string, ...args: string[]): Promise<{ code: number | null; signal: string | null; out: string }> {
  const flags = ["--expose-gc", join(workspace, "tests/children", name), ...args];
  const started = spawn(process.execPath, flags, { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  started.stdout.on("data", (text) => (out += text));
  started.stderr.on("data", (text) => (out += text));
  const timer = setTimeout(() => started.kill("SIGKILL"), DEADLINE_MS);
  return new Promise((resolve) =>
    started.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, out });
    }),
  );
}
