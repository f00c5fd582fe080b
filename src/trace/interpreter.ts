/** Asks an interpreter to describe itself. */
import { execFile } from "node:child_process";
import { z } from "zod";
import { PycdsError } from "../base/errors.ts";
import { withoutOurVariables, type Environment } from "./command.ts";
import { describeMarker, describeScript } from "./describe-script.ts";
import type { InterpreterInfo } from "./types.ts";

/** The oldest CPython that an archive can be thought of for (design.md, decision 3). */
const oldest = { major: 3, minor: 9 } as const;
const chooseAnother = `name a CPython ${oldest.major}.${oldest.minor} or later with --python EXE or --venv DIR`;
/** An interpreter that takes longer than this to start is not going to. */
const timeoutMs = 60_000;

const identity = z.object({
  executable: z.string(),
  implementation: z.string(),
  hexversion: z.number().int().nonnegative(),
  version: z.string(),
});

export const suffixList = z.array(z.object({ suffix: z.string().min(1), loader: z.enum(["extension", "source", "sourceless"]) }));

const description = identity.extend({
  pycMagic: z.number().int().nonnegative(),
  cacheTag: z.string(),
  platform: z.string(),
  pointerSize: z.number().int(),
  freeThreaded: z.boolean(),
  debug: z.boolean(),
  suffixes: suffixList,
  prefix: z.string(),
  basePrefix: z.string(),
  stdlib: z.string(),
  dynload: z.string().nullable(),
  sitePackages: z.array(z.string()),
  sysPath: z.array(z.string()),
});

/** Checks and converts what {@link describeScript} printed; `exe` is named in errors. */
export function parseDescription(output: string, exe: string): InterpreterInfo {
  const start = output.lastIndexOf(describeMarker);
  const end = start < 0 ? -1 : output.indexOf("\n", start);
  if (end < 0) {
    throw new PycdsError("INTERPRETER_SILENT", "cannot use interpreter", "it ran, but did not describe itself as Python does", {
      file: exe,
      next: chooseAnother,
    });
  }
  let json: unknown;
  try {
    json = JSON.parse(output.slice(start + describeMarker.length, end));
  } catch (cause) {
    throw new PycdsError("INTERPRETER_SILENT", "cannot use interpreter", "its description of itself is not JSON", { file: exe, next: chooseAnother, cause });
  }
  const who = identity.safeParse(json);
  if (who.success && who.data.implementation !== "cpython") {
    throw new PycdsError("NOT_CPYTHON", "cannot use interpreter", `it is ${who.data.implementation} ${who.data.version}, not CPython`, {
      file: exe,
      next: chooseAnother,
    });
  }
  if (who.success && who.data.hexversion < ((oldest.major << 24) | (oldest.minor << 16))) {
    throw new PycdsError("PYTHON_TOO_OLD", "cannot use interpreter", `it is CPython ${who.data.version}, too old`, { file: exe, next: chooseAnother });
  }
  const parsed = description.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const where = issue === undefined ? "" : `${issue.path.join(".")}: ${issue.message}`;
    throw new PycdsError("INTERPRETER_SILENT", "cannot use interpreter", `its description of itself is incomplete (${where})`, { file: exe, next: chooseAnother });
  }
  const { pointerSize, freeThreaded, debug, ...facts } = parsed.data;
  if (pointerSize !== 8 || (freeThreaded && debug)) {
    const build = pointerSize === 8 ? "a free-threaded debug build" : `a ${pointerSize * 8}-bit build`;
    throw new PycdsError("UNSUPPORTED_BUILD", "cannot use interpreter", `it is ${build}, for which there are no archives`, { file: exe, next: chooseAnother });
  }
  return { ...facts, flavour: debug ? "debug" : freeThreaded ? "freethreaded" : "release" };
}

/** Runs `exe -I -c …` and returns what it says of itself. */
export async function describeInterpreter(exe: string, env: Environment): Promise<InterpreterInfo> {
  const output = await new Promise<string>((resolve, reject) => {
    const options = { env: { ...withoutOurVariables(env), PYCDS: "off" }, timeout: timeoutMs, maxBuffer: 1 << 24, encoding: "utf8" } as const;
    const child = execFile(exe, ["-I", "-c", describeScript], options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(startFailure(exe, error, stderr));
    });
    child.stdin?.end();
  });
  return parseDescription(output, exe);
}

function startFailure(exe: string, error: Error & { code?: unknown; killed?: boolean }, stderr: string): PycdsError {
  const fail = (code: string, why: string): PycdsError => new PycdsError(code, "cannot run interpreter", why, { file: exe, next: chooseAnother, cause: error });
  switch (error.code) {
    case "ENOENT":
      return fail("INTERPRETER_NOT_FOUND", "there is no such file");
    case "ENOTDIR":
      return fail("INTERPRETER_NOT_FOUND", "a part of its path is not a folder");
    case "EACCES":
      return fail("INTERPRETER_NOT_EXECUTABLE", "it is not an executable file");
    default: {
      if (error.killed === true) return fail("INTERPRETER_FAILED", `no answer within ${timeoutMs / 1000} s`);
      // a traceback's last line tells most; a usage message's last line tells nothing
      const last = stderr.split("\n").findLast((line) => line.trim() !== "" && !line.startsWith("Try ")) ?? "";
      const how = typeof error.code === "number" ? `it ended with status ${error.code}` : `it did not start (${error.message.split("\n")[0] ?? ""})`;
      return fail("INTERPRETER_FAILED", last === "" ? how : `${how}: ${last}`);
    }
  }
}
