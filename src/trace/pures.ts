/** The inputs of pure functions that traced processes had, merged. */
import type { Trace, TracePattern, TraceSource } from "./types.ts";

interface Counted {
  readonly source: TraceSource;
  /** The most that one process made. */
  most: number;
  /** In the process that is being read. */
  now: number;
}

export class PureInputs {
  private readonly sources = new Map<string, Counted>();
  private readonly patterns = new Map<string, TracePattern>();

  /** What is added from now on was called by another process. */
  nextProcess(): void {
    for (const counted of this.sources.values()) counted.now = 0;
  }

  addSource({ source, mode, flags }: TraceSource, calls: number): void {
    const key = `${mode} ${flags} ${source}`;
    const counted = this.sources.get(key) ?? { source: { source, mode, flags }, most: 0, now: 0 };
    counted.now += calls;
    counted.most = Math.max(counted.most, counted.now);
    this.sources.set(key, counted);
  }

  addPattern({ pattern, bytes, flags }: TracePattern): void {
    const key = `${bytes} ${flags} ${pattern}`;
    if (!this.patterns.has(key)) this.patterns.set(key, { pattern, bytes, flags });
  }

  done(): Pick<Trace, "sources" | "patterns"> {
    return { sources: [...this.sources.values()].map(({ source, most }) => ({ ...source, calls: most })), patterns: [...this.patterns.values()] };
  }
}
