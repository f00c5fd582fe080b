/** A run as a table: text for a terminal, Markdown for a file. */
import { median, pairRatios, quantile, samplesOf, summarise } from "./stats.ts";
import type { ArmName, BenchRun, Measured } from "./types.ts";

const ms = (value: number): string => value.toFixed(1);
const times = (value: number): string => `${value.toFixed(2)}x`;

function faults(measured: Measured): string {
  const arms: readonly ArmName[] = measured.samples.has("peer") ? ["stock", "archive", "peer"] : ["stock", "archive"];
  return arms.map((arm) => String(Math.round(median(samplesOf(measured, arm).map((sample) => sample.minorFaults))))).join(" / ");
}

/** The archive against the peer in the same rounds: the peer's time divided by the archive's. */
function overPeer(measured: Measured): string {
  const ratios = pairRatios(measured, "peer", "archive");
  return ratios.length === 0 ? "" : times(median(ratios));
}

/** Header and rows, all as text. */
export function tableRows(run: BenchRun): readonly (readonly string[])[] {
  const peer = run.measured.some((one) => one.samples.has("peer"));
  const header = ["case", "stock ms", "archive ms", "ratio", "p10–p90", ...(peer ? ["peer ms", "peer ratio", "over peer"] : []), "minor faults", "hit / missed / stale"];
  const rows = run.measured.map((one) => {
    const row = summarise(one);
    const [low, high] = row.ratio_spread;
    return [
      row.name,
      ms(row.stock_ms),
      ms(row.archive_ms),
      times(row.ratio),
      `${low.toFixed(2)}–${high.toFixed(2)}`,
      ...(peer ? [row.peer_ms === undefined ? "" : ms(row.peer_ms), row.peer_ratio === undefined ? "" : times(row.peer_ratio), overPeer(one)] : []),
      faults(one),
      one.served === undefined ? "" : `${one.served.hit} / ${one.served.miss} / ${one.served.stale}`,
    ];
  });
  const counted = run.measured.filter((one) => one.counted).length;
  const { geomean, peer_geomean: peerGeomean } = run.report;
  const mean = ["geometric mean", "", "", times(geomean), "", ...(peer ? ["", peerGeomean === undefined ? "" : times(peerGeomean), ""] : []), "", ""];
  return counted > 1 ? [header, ...rows, mean] : [header, ...rows];
}

/** What the figures are and what they were measured on, one sentence a line. */
export function legend(run: BenchRun): readonly string[] {
  const { machine } = run;
  const overhead = run.measured
    .filter((one) => one.name === "pass")
    .map((one) => {
      const stock = samplesOf(one, "stock");
      const extra = samplesOf(one, "archive").flatMap((sample, round) => {
        const other = stock[round];
        return other === undefined ? [] : [sample.wallMs - other.wallMs];
      });
      return `pass: an installed archive adds ${median(extra).toFixed(2)} ms (median of the rounds; p10–p90 ${quantile(extra, 0.1).toFixed(2)}–${quantile(extra, 0.9).toFixed(2)}).`;
    });
  return [
    `CPython ${run.report.python}; whole processes, wall time, .pyc files warm; ${run.rounds} interleaved rounds after ${run.warmups} that are not counted.`,
    "ms: median over the rounds. ratio: median over the rounds of stock's time divided by the arm's in the same round; p10–p90 of the same.",
    ...(run.measured.some((one) => one.samples.has("peer")) ? ["over peer: likewise, the peer's time divided by the archive's."] : []),
    `minor faults: medians, ${run.measured.some((one) => one.samples.has("peer")) ? "stock / archive / peer" : "stock / archive"}.`,
    `${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, load ${machine.loadBefore.toFixed(2)} at the start.`,
    ...overhead,
    ...run.measured.flatMap((one) => (one.peerFault === undefined ? [] : [`${one.name}: no peer: ${one.peerFault}`])),
  ];
}

/** Columns in line; the first to the left, the others to the right. */
export function alignRows(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows.map((row) => row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join("  ").trimEnd()).join("\n");
}

export function renderText(run: BenchRun): string {
  return `${alignRows(tableRows(run))}\n\n${legend(run).join("\n")}\n`;
}

export function renderMarkdown(run: BenchRun, command: string): string {
  const [header = [], ...rows] = tableRows(run);
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const rule = line(header.map((_, column) => (column === 0 ? "---" : "---:")));
  return `${[line(header), rule, ...rows.map(line)].join("\n")}\n\nMade by \`${command}\`.\n${legend(run).join("\n")}\n`;
}
