/** A run as a table: text for a terminal, Markdown for a file. */
import { median, optInsOf, pairRatios, quantile, samplesOf, summarise } from "./stats.ts";
import type { ArmName, BenchRun, Measured, OptIn, Sample } from "./types.ts";

const ms = (value: number): string => value.toFixed(1);
const times = (value: number): string => `${value.toFixed(2)}x`;

const optional = (value: number | undefined): string => (value === undefined ? "" : times(value));

/** The arms whose instructions were counted, but for stock. */
function countedArms(run: BenchRun): ArmName[] {
  return [...(run.measured[0]?.instructions?.keys() ?? [])].filter((arm) => arm !== "stock");
}

/** A figure of stock, archive and peer, from the median sample of each arm. */
function perArm(measured: Measured, shown: (sample: Pick<Sample, "minorFaults" | "blocksRead">) => string): string {
  const arms: readonly ArmName[] = measured.samples.has("peer") ? ["stock", "archive", "peer"] : ["stock", "archive"];
  const medianOf = (arm: ArmName, pick: (sample: Sample) => number): number => median(samplesOf(measured, arm).map(pick));
  return arms.map((arm) => shown({ minorFaults: medianOf(arm, (sample) => sample.minorFaults), blocksRead: medianOf(arm, (sample) => sample.blocksRead) })).join(" / ");
}

/** The archive against the peer in the same rounds: the peer's time divided by the archive's. */
function overPeer(measured: Measured): string {
  const ratios = pairRatios(measured, "peer", "archive");
  return ratios.length === 0 ? "" : times(median(ratios));
}

/** Header and rows, all as text. */
export function tableRows(run: BenchRun): readonly (readonly string[])[] {
  const peer = run.measured.some((one) => one.samples.has("peer"));
  const also: OptIn[] = run.measured[0] === undefined ? [] : optInsOf(run.measured[0]);
  const counted = countedArms(run);
  const header = ["case", "stock ms", "archive ms", "ratio", "p10–p90", ...(peer ? ["peer ms", "peer ratio", "over peer"] : []), ...also, ...(counted.length === 0 ? [] : ["stock M instr.", ...counted.map((arm) => `${arm} instr.`)]), ...(run.cold ? ["read MiB"] : []), "minor faults", "hit / missed / stale"];
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
      ...also.map((arm) => optional(row.also?.[arm])),
      ...(counted.length === 0 ? [] : [row.instructions?.stock_millions.toFixed(0) ?? "", ...counted.map((arm) => optional(row.instructions?.ratios[arm]))]),
      ...(run.cold ? [perArm(one, ({ blocksRead }) => ((blocksRead * 512) / 2 ** 20).toFixed(1))] : []),
      perArm(one, ({ minorFaults }) => String(Math.round(minorFaults))),
      one.served === undefined ? "" : `${one.served.hit} / ${one.served.miss} / ${one.served.stale}`,
    ];
  });
  const { geomean, peer_geomean: peerGeomean, also_geomean: alsoMeans, instructions_geomean: instructionMeans } = run.report;
  const mean = ["geometric mean", "", "", times(geomean), "", ...(peer ? ["", peerGeomean === undefined ? "" : times(peerGeomean), ""] : []),
    ...also.map((arm) => optional(alsoMeans?.[arm])),
    ...(counted.length === 0 ? [] : ["", ...counted.map((arm) => optional(instructionMeans?.[arm]))]),
    ...(run.cold ? [""] : []),
    "",
    "",
  ];
  return run.measured.filter((one) => one.counted).length > 1 ? [header, ...rows, mean] : [header, ...rows];
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
    `CPython ${run.report.python}; whole processes, wall time, ${run.cold ? "every file of the start put out of the page cache before it" : ".pyc files warm"}; ${run.rounds} interleaved rounds after ${run.warmups} that are not counted.`,
    "ms: median over the rounds. ratio: median over the rounds of stock's time divided by the arm's in the same round; p10–p90 of the same.",
    ...(run.measured.some((one) => one.samples.has("peer")) ? ["over peer: likewise, the peer's time divided by the archive's."] : []),
    ...(run.measured.some((one) => optInsOf(one).length > 0) ? ["fast-exit, fast-types, fast-both: stock's time divided by that of the archive with PYCDS_EXIT=fast, PYCDS_TYPES=fast, both."] : []),
    ...(countedArms(run).length > 0 ? ["instr.: callgrind, user mode, one hash seed, one run an arm; stock's in millions, then stock's divided by the arm's."] : []),
    `minor faults${run.cold ? " and what was read from the disk" : ""}: medians, ${run.measured.some((one) => one.samples.has("peer")) ? "stock / archive / peer" : "stock / archive"}.`,
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

/** The same as a Markdown table. */
export function markdownRows([header = [], ...rows]: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const rule = line(header.map((_, column) => (column === 0 ? "---" : "---:")));
  return [line(header), rule, ...rows.map(line)].join("\n");
}

export function renderText(run: BenchRun): string {
  return `${alignRows(tableRows(run))}\n\n${legend(run).join("\n")}\n`;
}

export function renderMarkdown(run: BenchRun, command: string): string {
  return `${markdownRows(tableRows(run))}\n\nMade by \`${command}\`.\n${legend(run).join("\n")}\n`;
}
