/** The few statistics a report needs. */
import type { ArmName, BenchCase, BenchReport, Measured, Sample } from "./types.ts";

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
  };
}

/** The geometric mean is over the cases that count; over all when none does. */
export function reportOf(python: string, measured: readonly Measured[]): BenchReport {
  const counted = measured.some((one) => one.counted) ? measured.filter((one) => one.counted) : measured;
  const cases = measured.map(summarise);
  const inMean = counted.map(summarise);
  const peers = inMean.flatMap((one) => (one.peer_ratio === undefined ? [] : [one.peer_ratio]));
  return {
    python,
    cases,
    geomean: ratioDigits(geomean(inMean.map((one) => one.ratio))),
    ...(peers.length === 0 ? {} : { peer_geomean: ratioDigits(geomean(peers)) }),
  };
}
