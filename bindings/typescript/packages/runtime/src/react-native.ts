/**
 * Bowline for React Native: the same client over the generated code that talks to the app's native module.
 *
 * @packageDocumentation
 */
import * as generatedNative from "./generated-native/bowline.ts";
import { EXPECTED_ABI_ID } from "./generated-native/abi.ts";
import type { Native } from "./bind.ts";
import { Bowline, checkAbi, type LogLevelName, type OpenOptions, subscribeLogs as subscribe } from "./open.ts";
import type { LogBatch } from "./generated/bowline.ts";

export { observeReactNative } from "./observers.ts";
export { Bowline, type KeyStore, type LogLevelName, type OpenOptions } from "./open.ts";
export * from "./shared.ts";

// One generator makes both from one library; only how they call it differs. The compiler takes them for strangers all the same, since their
// classes have private parts.
const generated = (generatedNative satisfies Record<keyof Native, unknown>) as unknown as Native;

let loaded = false;

/** Makes sure, once, that the native module is the one these bindings were made for. */
function loadLibrary(): void {
  if (loaded) return;
  generatedNative.default.initialize();
  checkAbi(generated.abiId(), EXPECTED_ABI_ID);
  loaded = true;
}

/** Opens a client. An app has one. */
export function openBowline(options: OpenOptions): Bowline {
  loadLibrary();
  return new Bowline(generated, options);
}

/** Hands the library's log to a function, in batches, until the function that is returned is called. */
export function subscribeLogs(level: LogLevelName, onLog: (batch: LogBatch) => void): () => void {
  loadLibrary();
  return subscribe(generated, level, onLog);
}
