/** What is measured, and what comes out. */
import type { Env } from "./process.ts";

export type ArmName = "stock" | "archive" | "peer";

/** One way of starting the same program. */
export interface Arm {
  readonly name: ArmName;
  readonly argv: readonly string[];
  /** The whole environment of the process. */
  readonly env: Env;
}

/** What one process cost, as native/bench/pairs.c saw it. */
export interface Sample {
  readonly wallMs: number;
  readonly userMs: number;
  readonly sysMs: number;
  readonly minorFaults: number;
  readonly majorFaults: number;
  readonly maxRssKib: number;
}

/** How an archive served a start, from PYCDS_LOG's summary line. */
export interface Served {
  readonly hit: number;
  readonly miss: number;
  readonly stale: number;
}

/** The samples of one case; item i of each arm is from round i. */
export interface Measured {
  readonly name: string;
  /** Part of the geometric mean. */
  readonly counted: boolean;
  readonly samples: ReadonlyMap<ArmName, readonly Sample[]>;
  readonly served?: Served;
  /** Why the peer has no samples, where it was wanted. */
  readonly peerFault?: string;
}

/** `pycds bench --json`; a contract, checked from outside. */
export interface BenchCase {
  readonly name: string;
  /** Medians over the rounds. */
  readonly stock_ms: number;
  readonly archive_ms: number;
  /** Median over the rounds of stock's time divided by the archive's in the same round. */
  readonly ratio: number;
  /** 10th and 90th percentile of the rounds' ratios. */
  readonly ratio_spread: readonly [number, number];
  readonly peer_ms?: number;
  /** As `ratio`, stock's time divided by the peer's. */
  readonly peer_ratio?: number;
}

/** `pycds bench --json`; a contract, checked from outside. */
export interface BenchReport {
  /** Version, e.g. `3.11.7`. */
  readonly python: string;
  readonly cases: readonly BenchCase[];
  /** Of the ratios of the cases that count (the imports). */
  readonly geomean: number;
  readonly peer_geomean?: number;
}

/** A report with all that it was computed from. */
export interface BenchRun {
  readonly report: BenchReport;
  readonly measured: readonly Measured[];
  readonly rounds: number;
  readonly warmups: number;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly kernel: string; readonly loadBefore: number };
}
