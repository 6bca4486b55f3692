/** Blobs of a host: bytes named by their SHA-256, put and got with progress (LD-8). Nothing here is native. */
import type { TransferState } from "./generated/enums.ts";
import type { BowlineError } from "./errors.ts";
import type { Source } from "./store.ts";

/** Progress of a blob, the newest only. */
export interface BlobProgress {
  readonly state: TransferState;
  /** Its name, once it is known. */
  readonly hash: string | undefined;
  /** Bytes that are there: at the daemon, or here. */
  readonly done: number;
  /** All its bytes, once that is known. */
  readonly total: number | undefined;
}

/** A file, by its path. */
export interface BlobFile {
  readonly file: string;
}

/** What refers to a blob that another device has put: a table or a log that this device may follow. */
export type BlobOf = { table: string; params?: object } | { log: string; params?: object };

/** How a blob is put. */
export interface PutBlobOptions {
  /** Called with the newest progress, and not after the promise is settled. */
  onProgress?: (progress: BlobProgress) => void;
  /** Cancels it: the promise rejects with the signal's reason. What moved is kept, so that another call goes on there. */
  signal?: AbortSignal;
}

/** How a blob is got. */
export interface GetBlobOptions extends PutBlobOptions {
  /** Through what this device may see it. Without it, it must have put it. */
  of?: BlobOf;
}

/** @internal What is to be done. */
export type BlobWork =
  | { do: "put"; source: Uint8Array | BlobFile }
  | { do: "get"; hash: string; of: BlobOf | undefined; sink: BlobFile | undefined };

/** @internal A blob that is whole. */
export interface StoredBlob {
  hash: string;
  bytes: Uint8Array | undefined;
}

/** @internal What is told of a blob on its way: progress, and at the end the blob. */
export type BlobUpdate = { progress: BlobProgress } | { stored: StoredBlob };

/** @internal Whether a file is concerned. */
export function namesFile(work: BlobWork): boolean {
  const place = work.do === "put" ? work.source : work.sink;
  return place !== undefined && !(place instanceof Uint8Array);
}

/** One that throws is logged, and told of later progress all the same. */
function told(onProgress: PutBlobOptions["onProgress"], progress: BlobProgress): void {
  try {
    onProgress?.(progress);
  } catch (error) {
    console.error("a callback of a Bowline blob failed", error);
  }
}

/** @internal Does it. The source ends by itself when the blob is whole; ended before, it is cancelled. */
export function transferred(source: Source<BlobUpdate>, { onProgress, signal }: PutBlobOptions): Promise<StoredBlob> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    let end: (() => void) | undefined;
    let settled = false;
    const settle = () => {
      settled = true;
      signal?.removeEventListener("abort", aborted);
      end?.();
    };
    const aborted = () => {
      settle();
      reject(signal!.reason);
    };
    signal?.addEventListener("abort", aborted);
    try {
      end = source(
        (update) => {
          if (settled) return;
          if ("progress" in update) return told(onProgress, update.progress);
          settle();
          resolve(update.stored);
        },
        (error: BowlineError) => {
          settle();
          reject(error);
        },
      );
      // It was over before the source had said how to end it.
      if (settled) end();
    } catch (error) {
      settle();
      reject(error);
    }
  });
}
