/** Bowline for React Native: the same client over the generated code that talks to the app's native module. */
import * as generatedNative from "./generated-native/bowline";
import { EXPECTED_ABI_ID } from "./generated-native/abi";
import type { Native } from "./bind";
import { Bowline, checkAbi, type OpenOptions } from "./open";

export { BowlineError } from "./errors";
export { ItemList } from "./list";
export { observeReactNative } from "./observers";
export { Bowline, type OpenOptions } from "./open";
export type { Store } from "./store";
export type { DirectoryView, HostsView, ScreenView, TimelineView } from "./views";

// One generator makes both from one library; only how they call it differs.
const generated = generatedNative as unknown as Native;

/** Opens a client. An app has one. */
export function openBowline(options: OpenOptions): Bowline {
  generatedNative.default.initialize();
  checkAbi(generated.abiId(), EXPECTED_ABI_ID);
  return new Bowline(generated, options);
}
