/**
 * Typed errors. Every failure a user can cause or meet is a {@link PycdsError}
 * with a stable code; anything else that escapes is our own bug (exit 70).
 */

/** Exit codes of the command line (style.md, "Errors and exit codes"). */
export const exitCode = { done: 0, no: 1, usage: 2, bug: 70 } as const;
export type ExitCode = (typeof exitCode)[keyof typeof exitCode];

export interface ErrorDetail {
  /** The file the fault was found in. */
  readonly file?: string;
  /** Byte offset in `file` (or in the stream that was being read). */
  readonly offset?: number;
  /** What to do next; one short imperative sentence, no full stop needed. */
  readonly next?: string;
  readonly cause?: unknown;
  /** Exit status; 2 (bad input) unless said otherwise. */
  readonly exit?: ExitCode;
}

export class PycdsError extends Error {
  override readonly name = "PycdsError";
  /** Upper-case identifier such as `PYC_TRUNCATED`; stable across releases. */
  readonly code: string;
  /** Why it failed, in one clause. */
  readonly why: string;
  readonly file: string | undefined;
  readonly offset: number | undefined;
  readonly next: string | undefined;
  readonly exit: ExitCode;

  /** @param what what could not be done, e.g. `cannot read trace` */
  constructor(code: string, what: string, why: string, detail: ErrorDetail = {}) {
    super(what, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.code = code;
    this.why = why;
    this.file = detail.file;
    this.offset = detail.offset;
    this.next = detail.next;
    this.exit = detail.exit ?? exitCode.usage;
  }

  /** `what (file, offset) — why — what to do next`, without the `pycds: error:` prefix. */
  get line(): string {
    const where = [this.file, this.offset === undefined ? undefined : `offset ${this.offset}`]
      .filter((part) => part !== undefined)
      .join(", ");
    return [where === "" ? this.message : `${this.message} (${where})`, this.why, this.next]
      .filter((part) => part !== undefined)
      .join(" — ");
  }
}
