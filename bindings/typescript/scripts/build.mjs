/**
 * Builds both packages: CommonJS bundles, modules that hand the same code on, and types.
 *
 * There is one copy of the code, in CommonJS: the library keeps one table of callbacks, so two copies of the generated
 * code in one process would take them from each other.
 */
import { execFileSync } from "node:child_process";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = (...parts) => join(root, ...parts);

/** What is in `core.ts` is taken from its bundle by all others. */
const core = {
  name: "core",
  setup({ onResolve }) {
    const sources = at("packages/runtime/src");
    const shared = [...readFileSync(join(sources, "core.ts"), "utf8").matchAll(/from "(.+)"/g)].map(([, path]) => join(sources, path));
    onResolve({ filter: /^\./ }, ({ path, resolveDir }) =>
      shared.includes(resolve(resolveDir, path)) ? { path: "./core.cjs", external: true } : undefined,
    );
  },
};

async function bundle(folder, name, { external = [], plugins = [], module = true }) {
  const entry = at(folder, "src", `${name}.ts`);
  const common = {
    entryPoints: [entry],
    bundle: true,
    platform: "node",
    target: "node20",
    external,
    plugins,
    alias: { "@ubjs/node": at("packages/runtime/src/native.ts") },
    logLevel: "error",
    logOverride: { "empty-import-meta": "silent" },
  };
  await build({ ...common, format: "cjs", outfile: at(folder, "dist", `${name}.cjs`) });
  if (!module) return;
  const listed = await build({ ...common, plugins: [], format: "esm", write: false, metafile: true, outfile: "x.js" });
  const names = Object.values(listed.metafile.outputs)[0].exports.filter((name) => name !== "default");
  const text = `import all from "./${name}.cjs";\nexport const { ${names.join(", ")} } = all;\n`;
  writeFileSync(at(folder, "dist", `${name}.js`), text);
}

for (const folder of ["packages/runtime", "packages/react"]) rmSync(at(folder, "dist"), { recursive: true, force: true });

await bundle("packages/runtime", "core", { module: false });
await bundle("packages/runtime", "index", { external: ["@ubjs/core"], plugins: [core] });
await bundle("packages/runtime", "bridge", { plugins: [core] });
await bundle("packages/react", "index", { external: ["react", "use-sync-external-store/with-selector", "@bowline/runtime/bridge"] });

for (const folder of ["packages/runtime", "packages/react"]) {
  execFileSync(process.execPath, [at("node_modules/typescript/bin/tsc"), "-p", at(folder, "tsconfig.json")], { stdio: "inherit" });
  // The same types once more, as those of CommonJS.
  cpSync(at(folder, "dist/types"), at(folder, "dist/types-cjs"), { recursive: true });
  writeFileSync(at(folder, "dist/types-cjs/package.json"), '{ "type": "commonjs" }\n');
}
