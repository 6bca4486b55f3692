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
const run = promisify(execFile);
const MINUTES = 240_000;
let folder: string;
let world: World;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "bowline-guide-"));
  // As npm would have installed them.
  mkdirSync(join(folder, "node_modules/@bowline"), { recursive: true });
  symlinkSync(join(workspace, "packages/runtime"), join(folder, "node_modules/@bowline/runtime"));
  symlinkSync(join(workspace, "packages/react"), join(folder, "node_modules/@bowline/react"));
  symlinkSync(join(workspace, "node_modules/@types"), join(folder, "node_modules/@types"));
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  world = await World.start();
});

afterAll(async () => {
  await world?.end();
  rmSync(folder, { recursive: true, force: true });
});

async function compile(file: string, text: string, ...flags: string[]): Promise<void> {
  writeFileSync(join(folder, file), text);
  const tsc = join(workspace, "node_modules/typescript/bin/tsc");
  const common = ["--strict", "--target", "es2022", "--lib", "es2023,dom,esnext.disposable", "--skipLibCheck", "--types", "node"];
  try {
    await run(process.execPath, [tsc, ...common, ...flags, file], { cwd: folder });
  } catch (error) {
    throw new Error((error as { stdout: string }).stdout);
  }
}

// The compiler is slow on a busy machine.
describe("docs/typescript.md", { timeout: MINUTES }, () => {
  it("has a program of under forty lines that runs", async () => {
    expect(program.trimEnd().split("\n").length).toBeLessThan(40);
    await compile("app.ts", program, "--module", "nodenext");
    const { stdout } = await run(process.execPath, ["app.js", join(folder, "state"), await world.offer()], { cwd: folder });
    expect(stdout).toContain("Online over 127.0.0.1:");
    expect(stdout).toContain("hello from there");
    // Known from then on: no offer is needed.
    const again = await run(process.execPath, ["app.js", join(folder, "state")], { cwd: folder });
    expect(again.stdout).toContain("hello from there");
  });

  it("has a component that compiles", async () => {
    symlinkSync(join(workspace, "node_modules/react"), join(folder, "node_modules/react"));
    await compile("agent.tsx", block("tsx"), "--module", "nodenext", "--jsx", "react-jsx", "--noEmit");
  });

  it("works in CommonJS too", async () => {
    const text = `import { openBowline } from "@bowline/runtime";\nconst b = openBowline({ storageFolder: process.argv[2]!, appName: "a", appVersion: "1" });\nvoid b.close().then(() => console.log("closed"));\n`;
    await compile("common.cts", text, "--module", "nodenext");
    const { stdout } = await run(process.execPath, ["common.cjs", join(folder, "state-cjs")], { cwd: folder });
    expect(stdout).toContain("closed");
  });

  it("both module systems share one copy", async () => {
    const text = `import { createRequire } from "node:module";\nimport { openBowline, BowlineError } from "@bowline/runtime";\nconst common = createRequire(import.meta.url)("@bowline/runtime");\nconsole.log(common.openBowline === openBowline && common.BowlineError === BowlineError);\n`;
    writeFileSync(join(folder, "both.mjs"), text);
    const { stdout } = await run(process.execPath, ["both.mjs"], { cwd: folder });
    expect(stdout.trim()).toBe("true");
  });
});
