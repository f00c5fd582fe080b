/** Collects every fault of a file, each with its offset, instead of stopping at the first. */
import { PycdsError } from "../base/errors.ts";

/** A file of nonsense has a fault in every row; this many say enough. */
const limit = 1000;

export class Faults {
  readonly list: PycdsError[] = [];
  readonly file: string;
  private omitted = 0;

  constructor(file: string) {
    this.file = file;
  }

  add(code: string, what: string, why: string, offset?: number, next = "build the archive again"): void {
    if (this.list.length >= limit) {
      this.omitted += 1;
      return;
    }
    this.list.push(new PycdsError(code, what, why, { file: this.file, ...(offset === undefined ? {} : { offset }), next }));
  }

  /** All faults; a last one says how many were left out. */
  done(): readonly PycdsError[] {
    if (this.omitted === 0) return this.list;
    const more = new PycdsError("IMAGE_MORE_FAULTS", "archive has more faults", `${this.omitted} more not listed`, { file: this.file });
    return [...this.list, more];
  }
}

/** Thrown by openImage: the first fault, with all of them in {@link faults}. */
export class ImageError extends PycdsError {
  readonly faults: readonly PycdsError[];

  constructor(faults: readonly [PycdsError, ...PycdsError[]]) {
    const [first] = faults;
    super(first.code, first.message, first.why, {
      ...(first.file === undefined ? {} : { file: first.file }),
      ...(first.offset === undefined ? {} : { offset: first.offset }),
      ...(first.next === undefined ? {} : { next: first.next }),
    });
    this.faults = faults;
  }
}
