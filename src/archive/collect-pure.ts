/**
 * Results of pure functions, computed by the target interpreter: the code of
 * source strings as compile() makes it, and what re's compiler calls
 * _sre.compile with. What warns or fails is left out: stock must say it again
 * in every process.
 */
import { spawn } from "node:child_process";
import { z } from "zod";
import { hex, sha256 } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { withoutOurVariables, type Environment } from "../trace/command.ts";
import type { Trace } from "../trace/types.ts";
import type { PureInput } from "./types.ts";

export type PureInputs = Pick<Trace, "sources" | "patterns">;
/** Computes results, in the order of the inputs: sources first. */
export type PureCompiler = (inputs: PureInputs, optimize: number) => Promise<readonly PureInput[]>;

/**
 * Left out besides what warns or fails:
 * - what makes stock import something (unicodedata, for \\N{…} and names that are not ASCII);
 * - ints of many digits in a source or a pattern: sys.set_int_max_str_digits() decides
 *   whether they are errors (Objects/longobject.c; no limit can be below 640);
 * - patterns with re.DEBUG, which print, and with re.LOCALE, which depend on it.
 */
const script = `
import base64, json, marshal, re, sys, warnings

try:
    import re._compiler as compiler
except ImportError:
    import sre_compile as compiler
import _sre

DIGITS = re.compile("[0-9_]{600}")
# The compiler imports unicodedata for these, and for names that are not ASCII; once it has, it does so silently.
NAMED = re.compile(r"\\\\N\\{")
LEFT_OUT = re.DEBUG | re.LOCALE

class Capture:
    """_sre, whose compile() answers with its arguments."""
    def __getattr__(self, name):
        return getattr(_sre, name)
    def compile(self, *args):
        return args

def pattern_result(text, is_bytes, flags):
    pattern = text.encode("latin-1") if is_bytes else text
    if flags & LEFT_OUT or DIGITS.search(text):
        return None
    _, flags, code, groups, index, names = compiler.compile(pattern, flags)
    expected = [None] * (groups + 1)
    for name, group in index.items():
        expected[group] = name
    if flags & LEFT_OUT or tuple(expected) != names:
        return None
    return {"flags": int(flags), "groups": groups, "code": [int(word) for word in code], "names": [[name, group] for name, group in index.items()]}

def source_result(text, mode, flags, optimize):
    if DIGITS.search(text) or NAMED.search(text) or not text.isascii():
        return None
    code = compile(text, "<string>", mode, flags, True, optimize)
    return {"code": base64.b64encode(marshal.dumps(code)).decode()}

def main(optimize):
    jobs = json.load(sys.stdin.buffer)
    compiler._sre = Capture()
    warnings.simplefilter("error")
    for kind, text, option, flags in jobs:
        sys.modules.pop("unicodedata", None)
        before = len(sys.modules)
        try:
            result = pattern_result(text, option, flags) if kind == "pattern" else source_result(text, option, flags, optimize)
        except Exception:
            result = None
        if len(sys.modules) != before:
            result = None
        sys.stdout.write(json.dumps(result) + "\\n")
        sys.stdout.flush()

main(int(sys.argv[1]))
`;

const u32 = z.number().int().min(0).max(0xffffffff);
export const resultLine = z.union([
  z.null(),
  z.object({ code: z.string() }),
  z.object({ flags: u32, groups: u32, code: z.array(u32), names: z.array(z.tuple([z.string(), u32])) }),
]);
export type ResultLine = z.infer<typeof resultLine>;

/** An interpreter's answers, by {@link answerKey}: what a build elsewhere needs instead of it. */
export type PureAnswers = ReadonlyMap<string, ResultLine>;

type Job = { readonly kind: "source"; readonly source: PureInputs["sources"][number] } | { readonly kind: "pattern"; readonly pattern: PureInputs["patterns"][number] };

export interface PureCompilerOptions {
  readonly exe: string;
  readonly env: Environment;
  /** Hears each answer. */
  readonly onAnswer?: (key: string, line: ResultLine) => void;
}

function jobsOf({ sources, patterns }: PureInputs): Job[] {
  return [...sources.map((source) => ({ kind: "source", source }) as const), ...patterns.map((pattern) => ({ kind: "pattern", pattern }) as const)];
}

/** What the interpreter is asked. */
function rowOf(job: Job): readonly unknown[] {
  return job.kind === "source" ? ["source", job.source.source, job.source.mode, job.source.flags] : ["pattern", job.pattern.pattern, job.pattern.bytes, job.pattern.flags];
}

function answerKey(job: Job): string {
  return hex(sha256(Buffer.from(JSON.stringify(rowOf(job)))));
}

/** Takes the answers that the interpreter of another machine gave; what it was not asked is left out. */
export function recordedPureCompiler(answers: PureAnswers): PureCompiler {
  return async (inputs) => jobsOf(inputs).flatMap((job) => resultOf(job, answers.get(answerKey(job)) ?? null) ?? []);
}

export function interpreterPureCompiler(options: PureCompilerOptions): PureCompiler {
  return async (inputs, optimize) => {
    const results: PureInput[] = [];
    let rest = jobsOf(inputs);
    while (rest.length > 0) {
      const lines = await compileBatch(options, rest, optimize);
      lines.forEach((line, number) => {
        const job = rest[number];
        if (job === undefined) return;
        options.onAnswer?.(answerKey(job), line);
        const result = resultOf(job, line);
        if (result !== undefined) results.push(result);
      });
      // where the interpreter itself died, on with what follows the culprit
      rest = rest.slice(lines.length + 1);
    }
    return results;
  };
}

function resultOf(job: Job, line: ResultLine): PureInput | undefined {
  if (line === null) return undefined;
  if (job.kind === "pattern") {
    if (typeof line.code === "string" || !("names" in line)) return undefined;
    const { flags, groups, code, names } = line;
    return { kind: "pattern", ...job.pattern, result: { flags, groups, code, names: names.map(([name, group]) => ({ name, group })) } };
  }
  if (typeof line.code !== "string") return undefined;
  const { source, mode, flags, calls } = job.source;
  return { kind: "source", source, mode, flags, uses: calls, code: Buffer.from(line.code, "base64") };
}

/** One child process; fewer answers than jobs when it died. */
async function compileBatch(options: PureCompilerOptions, jobs: readonly Job[], optimize: number): Promise<ResultLine[]> {
  const args = ["-I", "-S", "-c", script, String(optimize)];
  const child = spawn(options.exe, args, { env: withoutOurVariables(options.env), stdio: ["pipe", "pipe", "ignore"] });
  const rows = jobs.map(rowOf);
  const parts: Buffer[] = [];
  child.stdout.on("data", (part: Buffer) => parts.push(part));
  // it may die before it has read all
  child.stdin.on("error", () => undefined);
  child.stdin.end(JSON.stringify(rows));
  const end = await new Promise<string>((resolve, reject) => {
    child.on("error", (cause) => reject(new PycdsError("COMPILE", "cannot compile sources", cause.message, { file: options.exe, next: "check that this interpreter starts", cause })));
    child.on("close", (status, signal) => resolve(signal ?? `status ${status ?? "unknown"}`));
  });
  const whole = Buffer.concat(parts).toString("utf8").split("\n").slice(0, -1);
  if (whole.length === 0 && end !== "status 0" && !end.startsWith("SIG")) {
    throw new PycdsError("COMPILE", "cannot compile source strings", `the interpreter ended with ${end}`, { file: options.exe, next: "check that it starts with -I -S" });
  }
  return whole.map((line) => resultLine.parse(JSON.parse(line)));
}
