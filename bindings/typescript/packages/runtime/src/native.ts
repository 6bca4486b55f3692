/**
 * Stands for `@ubjs/node` in the generated code: finds the native library of this platform and the addon that calls it, which are in one package.
 * Both are loaded when they are first needed, so that importing the package does nothing and a missing library is an
 * error that can be caught.
 */
import { createRequire } from "node:module";
import { BowlineError } from "./errors.ts";
import { Advice } from "./generated/enums.ts";

/** A type of a foreign function, as the addon wants it described. */
type Described = { readonly tag: string } & Record<string, unknown>;

interface Addon {
  UniffiNativeModule: { open(path: string): { register(definitions: object): unknown } };
}

// The bundle is CommonJS, where `require` is there; tests run the sources as a module.
const load: NodeJS.Require = typeof require === "function" ? require : createRequire(import.meta.url);

/** Node's name of this platform, as in package names. */
export function platform(): string {
  const { arch, platform } = process;
  if (platform === "linux") {
    const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
    return `linux-${arch}-${report?.header?.glibcVersionRuntime ? "gnu" : "musl"}`;
  }
  return platform === "win32" ? `win32-${arch}-msvc` : `${platform}-${arch}`;
}

function found<T>(what: string, find: () => T): T {
  try {
    return find();
  } catch (cause) {
    throw new BowlineError("LibraryMissing", `${what} cannot be loaded: ${String(cause)}`, Advice.Report, undefined, { cause });
  }
}

/** The library's file: the one that `BOWLINE_LIBRARY` names, or that of this platform's package. */
export function resolveLibPath(_options: object): string {
  const named = process.env["BOWLINE_LIBRARY"];
  if (named) return named;
  const name = `@bowline/runtime-${platform()}`;
  return found(name, () => load.resolve(name));
}

export const UniffiNativeModule = {
  open(path: string) {
    const name = process.env["BOWLINE_ADDON"] ?? `@bowline/runtime-${platform()}/addon.node`;
    const addon = found(name, () => load(name) as Addon);
    return found(path, () => addon.UniffiNativeModule.open(path));
  },
};

const plain = (tag: string): Described => ({ tag });
const named = (tag: string) => (name: string): Described => ({ tag, name });
const around = (tag: string) => (inner: Described): Described => ({ tag, inner });

export const FfiType = {
  UInt8: plain("UInt8"),
  Int8: plain("Int8"),
  UInt16: plain("UInt16"),
  Int16: plain("Int16"),
  UInt32: plain("UInt32"),
  Int32: plain("Int32"),
  UInt64: plain("UInt64"),
  Int64: plain("Int64"),
  Float32: plain("Float32"),
  Float64: plain("Float64"),
  Handle: plain("Handle"),
  RustBuffer: plain("RustBuffer"),
  ForeignBytes: plain("ForeignBytes"),
  RustCallStatus: plain("RustCallStatus"),
  VoidPointer: plain("VoidPointer"),
  Void: plain("Void"),
  Callback: named("Callback"),
  Struct: named("Struct"),
  Reference: around("Reference"),
  MutReference: around("MutReference"),
};

export default { UniffiNativeModule, FfiType, resolveLibPath };
