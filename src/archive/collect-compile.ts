/**
 * Compiles sources with the target interpreter, as SourceLoader.source_to_code
 * would (compile(data, path, "exec", dont_inherit=True, optimize=level)), into
 * a scratch folder; nothing is written beside the sources.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { PycdsError } from "../base/errors.ts";
import { withoutOurVariables, type Environment } from "../trace/command.ts";

export type CompileResult =
  | {
      readonly kind: "compiled";
      /** A timestamp .pyc. */
      readonly pyc: Uint8Array;
      /** int(st_mtime) mod 2^32 and size of the source that was compiled. */
      readonly mtime: number;
      readonly size: number;
    }
  | { readonly kind: "failed"; readonly why: string };

/** Compiles source files; the map has every path that was asked for. */
export type Compiler = (paths: readonly string[], optimize: number, progress?: (done: number) => void) => Promise<ReadonlyMap<string, CompileResult>>;

/** `-S`: no site, hence no .pth file, no sitecustomize; compile() needs neither. */
const script = `
import importlib.util, json, marshal, os, struct, sys

def compile_one(path, target, optimize):
    before = os.stat(path)
    with open(path, "rb") as file:
        data = file.read()
    after = os.stat(path)
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size) or len(data) != after.st_size:
        return {"why": "its source changed during the build"}
    code = compile(data, path, "exec", dont_inherit=True, optimize=optimize)
    mtime, size = int(after.st_mtime) & 0xFFFFFFFF, after.st_size & 0xFFFFFFFF
    header = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, mtime, size)
    # marshal flags (FLAG_REF) only what it finds referenced more than once, and whether a caller's local counts
    # depends on the version (3.14 borrows). An import always writes the flag: held twice, as there.
    held = [code]
    with open(target, "wb") as file:
        file.write(header + marshal.dumps(held[0]))
    return {"mtime": mtime, "size": size}

def main(listing, optimize):
    with open(listing, encoding="utf-8") as file:
        jobs = json.load(file)
    for number, (path, target) in enumerate(jobs):
        try:
            result = compile_one(path, target, optimize)
        except SyntaxError as error:
            line = "" if error.lineno is None else " (line %d)" % error.lineno
            result = {"why": "it cannot be compiled: %s: %s%s" % (type(error).__name__, error.msg, line)}
        except OSError as error:
            result = {"why": "its source cannot be read: %s" % error.strerror}
        except (ValueError, RecursionError, MemoryError, OverflowError, SystemError) as error:
            result = {"why": "it cannot be compiled: %s: %s" % (type(error).__name__, error)}
        sys.stdout.write(json.dumps(result) + "\\n")
        sys.stdout.flush()

main(sys.argv[1], int(sys.argv[2]))
`;

const resultLine = z.union([z.object({ mtime: z.number().int(), size: z.number().int() }), z.object({ why: z.string() })]);
type ResultLine = z.infer<typeof resultLine>;

export interface CompilerOptions {
  readonly exe: string;
  readonly env: Environment;
  /** Folder in which a scratch folder may be made. */
  readonly temporary: string;
  /** Told of the scratch folder as it comes and goes, for cleaning up after an interrupt. */
  readonly onScratch?: (folder: string, exists: boolean) => void;
}

export function interpreterCompiler(options: CompilerOptions): Compiler {
  return async (paths, optimize, progress) => {
    const results = new Map<string, CompileResult>();
    if (paths.length === 0) return results;
    const scratch = join(options.temporary, `pycds-compile-${randomBytes(6).toString("hex")}`);
    // told of before it exists: a signal between the two leaves nothing behind
    options.onScratch?.(scratch, true);
    try {
      mkdirSync(scratch, { mode: 0o700 });
    } catch (cause) {
      options.onScratch?.(scratch, false);
      throw cause;
    }
    try {
      let rest = paths;
      while (rest.length > 0) {
        const { lines, end } = await compileBatch(options, scratch, rest, optimize, (done) => progress?.(paths.length - rest.length + done));
        for (const [number, line] of lines.entries()) results.set(rest[number] ?? "", await resultOf(line, join(scratch, `${number}.pyc`)));
        if (end === undefined) break;
        // the compiler itself died: at the file after the last answer; on with the others
        const culprit = rest[lines.length];
        if (culprit === undefined) break;
        results.set(culprit, { kind: "failed", why: `the interpreter ended with ${end} while compiling it` });
        rest = rest.slice(lines.length + 1);
      }
    } finally {
      await rm(scratch, { recursive: true, force: true });
      options.onScratch?.(scratch, false);
    }
    return results;
  };
}

async function resultOf(line: ResultLine, file: string): Promise<CompileResult> {
  if ("why" in line) return { kind: "failed", why: line.why };
  return { kind: "compiled", pyc: await readFile(file), mtime: line.mtime, size: line.size };
}

/** One child process; `end` says how it died when it did not answer for all. */
async function compileBatch(
  options: CompilerOptions, scratch: string, paths: readonly string[], optimize: number, progress: (done: number) => void,
): Promise<{ lines: ResultLine[]; end: string | undefined }> {
  const listing = join(scratch, "jobs.json");
  await writeFile(listing, JSON.stringify(paths.map((path, number) => [path, join(scratch, `${number}.pyc`)])));
  const args = ["-I", "-S", "-W", "ignore", "-c", script, listing, String(optimize)];
  const child = spawn(options.exe, args, { env: withoutOurVariables(options.env), stdio: ["ignore", "pipe", "ignore"] });
  const lines: ResultLine[] = [];
  let pending = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    const parts = (pending + chunk).split("\n");
    pending = parts.pop() ?? "";
    for (const part of parts) {
      const parsed = resultLine.safeParse(JSON.parse(part));
      if (parsed.success) lines.push(parsed.data);
    }
    progress(lines.length);
  });
  const end = await new Promise<string>((resolve, reject) => {
    child.on("error", (cause) => reject(new PycdsError("COMPILE", "cannot compile sources", cause.message, { file: options.exe, next: "check that this interpreter starts", cause })));
    child.on("close", (status, signal) => resolve(signal ?? `status ${status ?? "unknown"}`));
  });
  // an interpreter that answers nothing at all is not one that dies of a certain file
  if (lines.length === 0 && end !== "status 0" && !end.startsWith("SIG")) {
    throw new PycdsError("COMPILE", "cannot compile sources", `the interpreter ended with ${end}`, { file: options.exe, next: "check that it starts with -I -S" });
  }
  return { lines, end: lines.length === paths.length ? undefined : end };
}
