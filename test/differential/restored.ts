/**
 * The arm of warm images: an image of the bare interpreter in the interpreter's
 * place. Nothing is preloaded, so that sys.modules must be stock's too. Cases that
 * an image refuses are started the normal way, and must be stock's all the same.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cannotWarm, warmMinors } from "../warm/support.ts";
import type { TestPython } from "../support/pythons.ts";
import { must } from "./stage.ts";
import type { Arm, Played } from "./arm.ts";
import type { Case } from "./case.ts";
import type { Stage } from "./stage.ts";

/** Why an interpreter cannot be restored here, or undefined. */
export function lacksImages(python: TestPython): string | undefined {
  if (python.flavour !== "release" || !warmMinors.some((minor) => minor === python.minor)) return "warm images are for release builds of CPython 3.11 to 3.14";
  return cannotWarm();
}

/** What the log says: how a case was started. */
export interface Start {
  /** Undefined: restored. */
  readonly refused: string | undefined;
}

interface Image {
  readonly file: string;
  /** Where its processes write their digests: a program that is parked has read its variable. */
  readonly digest: string;
}

const images = new WeakMap<Stage, Map<string, Promise<Image>>>();

/** One image for all cases with the same end, built as a user would: without what a case sets. */
function imageFor(stage: Stage, { imageExit = "fast" }: Case): Promise<Image> {
  const known = images.get(stage) ?? new Map<string, Promise<Image>>();
  images.set(stage, known);
  const made = known.get(imageExit) ?? makeImage(stage, imageExit);
  known.set(imageExit, made);
  return made;
}

async function makeImage(stage: Stage, exit: string): Promise<Image> {
  const file = join(stage.folder, `image.${exit}`);
  const digest = `${file}.digest`;
  must("make a warm image", await stage.pycds(["warm", "create", "--quiet", "--exit", exit, "-o", file, "--", stage.exe], { ...stage.environment(undefined), DIFFERENTIAL_DIGEST: digest }));
  return { file, digest };
}

export const restored: Arm = {
  name: "restored",
  lacks: lacksImages,
  async play(stage, one): Promise<Played> {
    const { file, digest } = await imageFor(stage, one);
    rmSync(digest, { force: true });
    const log = stage.file("log");
    const outcome = await stage.play(one, ([, ...words]) => [file, ...words], { PYCDS_LOG: log, DIFFERENTIAL_DIGEST: digest });
    return { outcome, start: startOf(readFileSync(log, "utf8"), file) };
  },
};

/** The first line is this process's own; children may be images too. */
function startOf(log: string, image: string): Start {
  const [line = ""] = log.split("\n");
  if (line === `pycds: restored ${image}`) return { refused: undefined };
  const prefix = `pycds: refused ${image}: `;
  if (!line.startsWith(prefix)) throw new Error(`neither restored nor refused: ${log}`);
  return { refused: line.slice(prefix.length) };
}
