/** What is measured, and what comes out. */
import type { Env } from "./process.ts";

export type ArmName = "stock" | "archive" | "peer" | OptIn;

/** The archive with what must be asked for: its environment on top of the archive's. */
export const optIns = {
  "fast-exit": { PYCDS_EXIT: "fast" },
  "fast-types": { PYCDS_TYPES: "fast" },
  "fast-both": { PYCDS_EXIT: "fast", PYCDS_TYPES: "fast" },
} as const satisfies Readonly<Record<string, Env>>;
export type OptIn = keyof typeof optIns;

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
  /** Blocks of 512 bytes that came from a disk. */
  readonly blocksRead: number;
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
  /** Instructions of one run of each arm, where they were asked for. */
  readonly instructions?: ReadonlyMap<ArmName, number>;
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
  /** Of what was asked for with --also: as `ratio`, stock's time divided by that arm's. */
  readonly also?: Readonly<Partial<Record<OptIn, number>>>;
  /** Instructions of stock, in millions, and stock's divided by each arm's (callgrind, user mode, fixed hash seed). */
  readonly instructions?: { readonly stock_millions: number; readonly ratios: Readonly<Partial<Record<ArmName, number>>> };
}

/** `pycds bench --json`; a contract, checked from outside. */
export interface BenchReport {
  /** Version, e.g. `3.11.7`. */
  readonly python: string;
  readonly cases: readonly BenchCase[];
  /** Of the ratios of the cases that count (the imports). */
  readonly geomean: number;
  readonly peer_geomean?: number;
  readonly also_geomean?: Readonly<Partial<Record<OptIn, number>>>;
  readonly instructions_geomean?: Readonly<Partial<Record<ArmName, number>>>;
}

/** A report with all that it was computed from. */
export interface BenchRun {
  readonly report: BenchReport;
  readonly measured: readonly Measured[];
  readonly rounds: number;
  readonly warmups: number;
  /** Files were evicted from the page cache before each run. */
  readonly cold: boolean;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly kernel: string; readonly loadBefore: number };
}
