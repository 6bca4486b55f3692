/** What all bundles share, so that there is one copy of it in a process however it was imported. Not an entry of the package. */
export * from "./bind.ts";
export * from "./client.ts";
export * from "./errors.ts";
export * from "./generated/enums.ts";
export * from "./list.ts";
export * from "./observers.ts";
export * from "./ports.ts";
export * from "./rehearse.ts";
export * from "./store.ts";
export * from "./views.ts";
