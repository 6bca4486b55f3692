/** The program of `docs/typescript.md`: under forty lines, and it compiles and works as it stands there, in both module systems. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { workspace } from "./support/places.js";
import { World } from "./support/world.js";

const page = readFileSync(join(workspace, "../../docs/typescript.md"), "utf8");
const block = (language: string) => new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``).exec(page)![1]!;
const program = block("ts");
/** What the page's fragments are in the middle of, and each of them in a function of its own: compiled, and not run. */
const fragments = `
import { useIntent, useLog, useTable, useTopic } from "@bowline/react";
import { type BowlineClient, type Intent, type TableRow, type TopicBatch, valuesOf } from "@bowline/runtime";
interface Project { name: string }
interface Note { text: string }
interface Edit { voxels: number }
type Layers = string[];
declare const bowline: BowlineClient, serverId: string, rename: Intent, row: TableRow<Project>;
declare const bytes: Uint8Array, path: string, controller: AbortController;
declare function show(...shown: unknown[]): void;
declare function reload(): Promise<void>;
${[...page.matchAll(/```ts fragment\n([\s\S]*?)```/g)].map(([, code], n) => `export async function fragment${n}() {\n${code}}\n`).join("")}`;
const run = promisify(execFile);
const MINUTES = 240_000;
/** A project with our packages, as npm installed them; without one, the test makes the same of links to the sources. */
const installed = process.env["BOWLINE_TEST_INSTALLED"];
const environment: NodeJS.ProcessEnv = { ...process.env };
// An installed package finds the library of its platform by itself.
if (installed) delete environment["BOWLINE_LIBRARY"];
let folder: string;
let world: World;

beforeAll(async () => {
  folder = installed ?? mkdtempSync(join(tmpdir(), "bowline-guide-"));
  if (!installed) {
    mkdirSync(join(folder, "node_modules/@bowline"), { recursive: true });
    const link = (from: string, to: string) => symlinkSync(join(workspace, from), join(folder, "node_modules", to));
    link("packages/runtime", "@bowline/runtime");
    link("packages/react", "@bowline/react");
    link("node_modules/@types", "@types");
    link("node_modules/react", "react");
    link("node_modules/typescript", "typescript");
    writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  }
  world = await World.start();
});

afterAll(async () => {
  await world?.end();
  if (!installed) rmSync(folder, { recursive: true, force: true });
});

/** All of them at once: starting the compiler is what takes long. */
async function compile(files: Record<string, string>): Promise<void> {
  for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, file), text);
  const tsc = join(folder, "node_modules/typescript/bin/tsc");
  const options = ["--strict", "--target", "es2022", "--lib", "es2023,dom,esnext.disposable", "--types", "node"];
  const modules = ["--module", "nodenext", "--jsx", "react-jsx"];
  try {
    await run(process.execPath, [tsc, ...options, ...modules, ...Object.keys(files)], { cwd: folder });
  } catch (error) {
    throw new Error((error as { stdout: string }).stdout);
  }
}

async function ran(file: string, ...args: string[]): Promise<string> {
  return (await run(process.execPath, [file, ...args], { cwd: folder, env: environment })).stdout;
}

/** Says that types are types, and not `any` because a file was not found. */
const typed = (react: string, runtime: string) => `
import ${react};
import ${runtime};
const view: HostsView = openBowline({ storageFolder: "", appName: "", appVersion: "" }).hosts.getSnapshot();
const state: HostState | undefined = view.hosts[0]?.state;
// @ts-expect-error A number.
const wrong: string = view.rev;
// @ts-expect-error Frozen.
view.hosts = [];
// @ts-expect-error No such place for a prompt.
const [send] = useIntent(view.hosts[0]!.serverId); void send({ kind: "sendPrompt", text: "to whom?" });
// @ts-expect-error One of all states.
if (state === "Online") void wrong;
`;

describe("docs/typescript.md", { timeout: MINUTES }, () => {
  it("has a program, and a component, that compile; and there are types in both module systems", async () => {
    const [react, runtime] = [`{ useIntent } from "@bowline/react"`, `{ HostState, type HostsView, openBowline } from "@bowline/runtime"`];
    await compile({
      "app.ts": program,
      "agent.tsx": block("tsx"),
      "fragments.ts": fragments,
      "common.cts": `import { openBowline } from "@bowline/runtime";\nconst b = openBowline({ storageFolder: process.argv[2]!, appName: "a", appVersion: "1" });\nvoid b.close().then(() => console.log("closed"));\n`,
      "typed.mts": typed(react, runtime),
      "typed.cts": typed(react, runtime),
    });
  });

  it("has a program of under forty lines that runs", async () => {
    expect(program.trimEnd().split("\n").length).toBeLessThan(40);
    const storage = mkdtempSync(join(tmpdir(), "bowline-guide-"));
    const said = await ran("app.js", storage, await world.offer());
    expect(said).toContain("Online over 127.0.0.1:");
    expect(said).toContain("hello from there");
    // Known from then on: no offer is needed.
    expect(await ran("app.js", storage)).toContain("hello from there");
    rmSync(storage, { recursive: true });
  });

  it("works in CommonJS too", async () => {
    const storage = mkdtempSync(join(tmpdir(), "bowline-guide-"));
    expect(await ran("common.cjs", storage)).toBe("closed\n");
    rmSync(storage, { recursive: true });
  });

  it("both module systems and all entries share one copy", async () => {
    const text = `
      import { createRequire } from "node:module";
      import * as all from "@bowline/runtime";
      import * as bridge from "@bowline/runtime/bridge";
      const common = createRequire(import.meta.url);
      const others = [bridge, common("@bowline/runtime"), common("@bowline/runtime/bridge")];
      console.log(others.every((other) => other.BowlineError === all.BowlineError && other.HostState === all.HostState));
      console.log(common("@bowline/react").useHosts === (await import("@bowline/react")).useHosts);
    `;
    writeFileSync(join(folder, "both.mjs"), text);
    expect(await ran("both.mjs")).toBe("true\ntrue\n");
  });
});
