/**
 * Code that all bundles share, so that a process has one copy however it is imported. Not an entry
 * of the package.
 */
export * from "./bind.ts";
export * from "./blobs.ts";
export * from "./client.ts";
export * from "./errors.ts";
export * from "./generated/enums.ts";
export * from "./list.ts";
export * from "./observers.ts";
export * from "./patches.ts";
export * from "./ports.ts";
export * from "./shapes.ts";
export * from "./preview.ts";
export * from "./store.ts";
export * from "./views.ts";
