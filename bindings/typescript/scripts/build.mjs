/**
 * Builds both packages: CommonJS bundles, modules that hand the same code on, and types.
 *
 * There is one copy of the code, in CommonJS: the library keeps one table of callbacks, so two copies of the generated
 * code in one process would take them from each other.
 */
import { execFileSync } from "node:child_process";
import { cpSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = (...parts) => join(root, ...parts);

async function bundle(folder, name, external) {
  const entry = at(folder, "src", `${name}.ts`);
  const common = {
    entryPoints: [entry],
    bundle: true,
    platform: "node",
    target: "node20",
    external,
    alias: { "@ubjs/node": at("packages/runtime/src/native.ts") },
    logLevel: "error",
    logOverride: { "empty-import-meta": "silent" },
  };
  await build({ ...common, format: "cjs", outfile: at(folder, "dist", `${name}.cjs`) });
  const listed = await build({ ...common, format: "esm", write: false, metafile: true, outfile: "x.js" });
  const names = Object.values(listed.metafile.outputs)[0].exports.filter((name) => name !== "default");
  const text = `import all from "./${name}.cjs";\nexport const { ${names.join(", ")} } = all;\n`;
  writeFileSync(at(folder, "dist", `${name}.js`), text);
}

for (const folder of ["packages/runtime", "packages/react"]) rmSync(at(folder, "dist"), { recursive: true, force: true });

await bundle("packages/runtime", "index", ["@ubjs/core", "./bridge.cjs"]);
await bundle("packages/runtime", "bridge", []);
await bundle("packages/react", "index", ["react", "@bowline/runtime/bridge"]);

for (const folder of ["packages/runtime", "packages/react"]) {
  execFileSync(process.execPath, [at("node_modules/typescript/bin/tsc"), "-p", at(folder, "tsconfig.json")], { stdio: "inherit" });
  // The same types once more, as those of CommonJS.
  cpSync(at(folder, "dist/types"), at(folder, "dist/types-cjs"), { recursive: true });
  writeFileSync(at(folder, "dist/types-cjs/package.json"), '{ "type": "commonjs" }\n');
}
