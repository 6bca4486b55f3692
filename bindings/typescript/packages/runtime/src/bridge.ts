/**
 * Bowline for processes that cannot load the library, an Electron renderer for instance, and what `@bowline/react` is made of:
 * nothing here is native.
 *
 * @packageDocumentation
 */
export { observeWindow } from "./observers.ts";
export { BridgedClient, connectBridge } from "./ports.ts";
export * from "./shared.ts";
