/** The error of all calls: a stable kind, and the recommended action of the app. */
import { Advice, type Reason, type Refusal } from "./generated/enums.ts";

/** Kinds of {@link BowlineError}. The first five are this package's own. */
export type ErrorKind =
  | "LibraryMissing"
  | "LibraryMismatch"
  | "OtherThread"
  | "BridgeClosed"
  | "Disposed"
  | "InvalidIdentity"
  | "InvalidOffer"
  | "NoPath"
  | "Unreachable"
  | "PairingRefused"
  | "Storage"
  | "CorruptStorage"
  | "StorageNotPrivate"
  | "UnknownHost"
  | "TooMany"
  | "InvalidIntent"
  | "InvalidQuery"
  | "OutboxFull"
  | "Rejected"
  | "Disconnected"
  | "TimedOut"
  | "NotConnected"
  | "Cancelled"
  | "TooLarge"
  | "CorruptBlob"
  | "Paused"
  | "Closed"
  | "Broken"
  | "Internal";

/**
 * English texts, one for each advice, as whole sentences to the user; empty where the user has nothing to do. An app in several
 * languages has texts of its own: a `Record<Advice, string>` misses none.
 */
export const ADVICE_TEXTS: Readonly<Record<Advice, string>> = Object.freeze({
  [Advice.Wait]: "Wait a moment: the app connects again by itself.",
  [Advice.PairAgain]: "Pair this device with the computer again.",
  [Advice.Update]: "Update this app and the program on the computer.",
  [Advice.Report]: "Restart the app. If this stays, report it to the app's makers.",
  [Advice.Nothing]: "",
  [Advice.CheckStorage]: "Check the free space and the permissions of the app's folder.",
  [Advice.TryAgain]: "Try again in a moment.",
  [Advice.AskUser]: "Check what you entered and try again.",
});

/** An error of this library. `message` is for people; decide by `kind` and `advice`. */
export class BowlineError extends Error {
  override readonly name = "BowlineError";
  /** Why the daemon refused, of a closed list, where it did (`Rejected`). */
  readonly refusal: Refusal | undefined;

  constructor(
    /** Text for people. */
    readonly kind: ErrorKind,
    message: string,
    /** The recommended action of the app. */
    readonly advice: Advice,
    /** The closed reason, where a connection is concerned. */
    readonly reason?: Reason | undefined,
    options?: ErrorOptions & { refusal?: Refusal | undefined },
  ) {
    super(message, options);
    this.refusal = options?.refusal;
  }
}

/** The error of every call after the end. */
export function disposed(): BowlineError {
  return new BowlineError("Disposed", "this client was closed", Advice.Nothing);
}

/** Anything that was thrown, as an error of this library. */
export function asBowlineError(error: unknown): BowlineError {
  if (error instanceof BowlineError) return error;
  return new BowlineError("Internal", String(error), Advice.Report, undefined, { cause: error });
}

/** The error as it crosses a bridge. */
export interface PlainError {
  kind: ErrorKind;
  message: string;
  advice: Advice;
  reason?: Reason | undefined;
  refusal?: Refusal | undefined;
}

/** For a bridge. */
export function toPlain(error: unknown): PlainError {
  const { kind, message, advice, reason, refusal } = asBowlineError(error);
  return { kind, message, advice, reason, refusal };
}

/** From a bridge. */
export function fromPlain({ kind, message, advice, reason, refusal }: PlainError): BowlineError {
  return new BowlineError(kind, message, advice, reason, { refusal });
}
