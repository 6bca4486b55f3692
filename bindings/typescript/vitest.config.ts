/** The tests run the sources, against the native library that `cargo xtask bindings node` placed. */
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { libraryPath } from "./tests/support/places.js";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: {
    alias: [
      { find: "@bowline/runtime/bridge", replacement: at("./packages/runtime/src/bridge.ts") },
      { find: "@bowline/runtime", replacement: at("./packages/runtime/src/index.ts") },
      { find: "@bowline/react", replacement: at("./packages/react/src/index.ts") },
      { find: "@ubjs/node", replacement: at("./packages/runtime/src/native.ts") },
    ],
    // The example app, outside of this workspace, has the same React.
    dedupe: ["react", "react-dom"],
  },
  // It has no configuration of the compiler of its own.
  esbuild: { jsx: "automatic" },
  test: {
    include: ["tests/**/*.test.{ts,tsx}"],
    // A process for each file: the library is loaded once in each.
    pool: "forks",
    fileParallelism: false,
    env: { BOWLINE_LIBRARY: libraryPath() },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
