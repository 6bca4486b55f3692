/** Where things are that the tests need. */
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { dirname, join } from "node:path";

// Not `new URL("../..", import.meta.url)`: Vite takes that for an asset of a page in tests that have a DOM.
const typescript = join(dirname(fileURLToPath(import.meta.url)), "../..");
const root = join(typescript, "../..");

/** The root of the TypeScript workspace. */
export const workspace = typescript;

/** The native library for this platform. */
export function libraryPath(): string {
  const named = process.env["BOWLINE_LIBRARY"];
  if (named) return named;
  const packages = join(typescript, "packages");
  for (const name of readdirSync(packages)) {
    if (!name.startsWith("runtime-")) continue;
    const file = readdirSync(join(packages, name)).find((file) => /\.(so|dylib|dll)$/.test(file));
    if (file) return join(packages, name, file);
  }
  throw new Error("there is no native library: run `cargo xtask bindings node` first");
}

/** A program that cargo built. */
export function program(name: string): string {
  const target = process.env["CARGO_TARGET_DIR"] ?? join(root, "target");
  const path = join(target, "debug", process.platform === "win32" ? `${name}.exe` : name);
  if (!existsSync(path)) throw new Error(`${path} is not built: run \`cargo build --workspace --bins\` first`);
  return path;
}
