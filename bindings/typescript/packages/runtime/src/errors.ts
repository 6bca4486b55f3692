/** The error of all calls: a stable kind, and the recommended action of the app. */

/** Kinds of {@link BowlineError}. The first four are this package's own. */
export type ErrorKind =
  | "LibraryMissing"
  | "LibraryMismatch"
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
  | "Paused"
  | "Closed"
  | "Broken"
  | "Internal";

/** The recommended action of the app. */
export type AdviceName = "Wait" | "PairAgain" | "Update" | "Report" | "Nothing" | "CheckStorage" | "TryAgain" | "AskUser";

/** An error of this library. `message` is for people; decide by `kind` and `advice`. */
export class BowlineError extends Error {
  override readonly name = "BowlineError";
  /** Why the daemon refused, of a closed list, where it did (`Rejected`). */
  readonly refusal: string | undefined;

  constructor(
    /** Text for people. */
    readonly kind: ErrorKind,
    message: string,
    /** The recommended action of the app. */
    readonly advice: AdviceName,
    /** The closed reason, where a connection is concerned. */
    readonly reason?: string | undefined,
    options?: ErrorOptions & { refusal?: string | undefined },
  ) {
    super(message, options);
    this.refusal = options?.refusal;
  }
}

/** The error of every call after the end. */
export function disposed(): BowlineError {
  return new BowlineError("Disposed", "this client was closed", "Nothing");
}

/** Anything that was thrown, as an error of this library. */
export function asBowlineError(error: unknown): BowlineError {
  if (error instanceof BowlineError) return error;
  return new BowlineError("Internal", String(error), "Report", undefined, { cause: error });
}

/** The error as it crosses a bridge. */
export interface PlainError {
  kind: ErrorKind;
  message: string;
  advice: AdviceName;
  reason?: string | undefined;
  refusal?: string | undefined;
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
