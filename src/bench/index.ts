/**
 * The room's face. Reading order: types, rounds (the interleaving), pairs (one
 * timed process), stats, then basket and command (what is prepared), table.
 */
export { basketVenvs, benchBasket, measure, peers, quotedRounds } from "./basket.ts";
export type { BasketOptions, CommonOptions, Versus, Way } from "./basket.ts";
export { benchCommand } from "./command.ts";
export type { CommandOptions } from "./command.ts";
export { checkout } from "./pairs.ts";
export { findPython } from "./python.ts";
export { renderMarkdown, renderText } from "./table.ts";
export { optIns } from "./types.ts";
export type { OptIn } from "./types.ts";
export type { BenchCase, BenchReport, BenchRun } from "./types.ts";
