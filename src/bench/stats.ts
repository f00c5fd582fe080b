/** The few statistics a report needs. */
import { optIns } from "./types.ts";
import type { ArmName, BenchCase, BenchReport, Measured, OptIn, Sample } from "./types.ts";

/** Quantile `q` in [0, 1] by linear interpolation between the sorted values. */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) throw new RangeError("quantile of nothing");
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  const below = sorted[low] ?? Number.NaN;
  const above = sorted[Math.min(low + 1, sorted.length - 1)] ?? Number.NaN;
  return below + (above - below) * (at - low);
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function geomean(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError("geometric mean of nothing");
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

export function samplesOf(measured: Measured, arm: ArmName): readonly Sample[] {
  return measured.samples.get(arm) ?? [];
}

/** Time of `over` divided by time of `arm`, round by round. */
export function pairRatios(measured: Measured, over: ArmName, arm: ArmName): number[] {
  const below = samplesOf(measured, arm);
  return samplesOf(measured, over).flatMap((sample, round) => {
    const other = below[round];
    return other === undefined ? [] : [sample.wallMs / other.wallMs];
  });
}

const milliseconds = (value: number): number => Number(value.toFixed(3));
const ratioDigits = (value: number): number => Number(value.toFixed(4));

export function summarise(measured: Measured): BenchCase {
  const wall = (arm: ArmName): number[] => samplesOf(measured, arm).map((sample) => sample.wallMs);
  const ratios = pairRatios(measured, "stock", "archive");
  const peer = measured.samples.has("peer")
    ? { peer_ms: milliseconds(median(wall("peer"))), peer_ratio: ratioDigits(median(pairRatios(measured, "stock", "peer"))) }
    : {};
  return {
    name: measured.name,
    stock_ms: milliseconds(median(wall("stock"))),
    archive_ms: milliseconds(median(wall("archive"))),
    ratio: ratioDigits(median(ratios)),
    ratio_spread: [ratioDigits(quantile(ratios, 0.1)), ratioDigits(quantile(ratios, 0.9))],
    ...peer,
    ...alsoOf(measured),
    ...instructionsOf(measured),
  };
}

/** The arms of --also that have samples, in their fixed order. */
export function optInsOf(measured: Measured): OptIn[] {
  return (Object.keys(optIns) as OptIn[]).filter((arm) => measured.samples.has(arm));
}

function alsoOf(measured: Measured): Pick<BenchCase, "also"> {
  const arms = optInsOf(measured);
  return arms.length === 0 ? {} : { also: Object.fromEntries(arms.map((arm) => [arm, ratioDigits(median(pairRatios(measured, "stock", arm)))])) };
}

function instructionsOf({ instructions }: Measured): Pick<BenchCase, "instructions"> {
  const stock = instructions?.get("stock");
  if (instructions === undefined || stock === undefined) return {};
  const others = [...instructions].filter(([arm]) => arm !== "stock");
  return { instructions: { stock_millions: Number((stock / 1e6).toFixed(1)), ratios: Object.fromEntries(others.map(([arm, count]) => [arm, ratioDigits(stock / count)])) } };
}

/** Geometric means of those keys that every row has. */
function means<K extends string>(rows: readonly (Readonly<Partial<Record<K, number>>> | undefined)[]): Partial<Record<K, number>> | undefined {
  const keys = Object.keys(rows[0] ?? {}) as K[];
  const shared = keys.filter((key) => rows.every((row) => row?.[key] !== undefined));
  if (shared.length === 0) return undefined;
  const mean = (key: K): number => ratioDigits(geomean(rows.flatMap((row) => row?.[key] ?? [])));
  return Object.fromEntries(shared.map((key) => [key, mean(key)])) as Partial<Record<K, number>>;
}

/** The geometric mean is over the cases that count; over all when none does. */
export function reportOf(python: string, measured: readonly Measured[]): BenchReport {
  const counted = measured.some((one) => one.counted) ? measured.filter((one) => one.counted) : measured;
  const cases = measured.map(summarise);
  const inMean = counted.map(summarise);
  const also = means(inMean.map((one) => one.also));
  const instructions = means(inMean.map((one) => one.instructions?.ratios));
  const peers = inMean.flatMap((one) => (one.peer_ratio === undefined ? [] : [one.peer_ratio]));
  return {
    python,
    cases,
    geomean: ratioDigits(geomean(inMean.map((one) => one.ratio))),
    ...(peers.length === 0 ? {} : { peer_geomean: ratioDigits(geomean(peers)) }),
    ...(also === undefined ? {} : { also_geomean: also }),
    ...(instructions === undefined ? {} : { instructions_geomean: instructions }),
  };
}
