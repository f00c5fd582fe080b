/** Reads trace files (and what PYCDSLIST wrote, which is the same). */
import type { ZodError } from "zod";
import { PycdsError } from "../base/errors.ts";
import { traceHeader, traceMissing, traceModule, tracePath, tracePattern, traceSource } from "./types.ts";
import type { Trace, TraceHeader, TraceModule } from "./types.ts";
import { PureInputs } from "./pures.ts";

export interface ReadTraceOptions {
  /** Processes whose header this refuses are left out, with the lines that follow their header. Default: all are kept. */
  readonly accept?: (header: TraceHeader) => boolean;
}

/**
 * Reads and merges the processes of a trace. Order is that of the file; of a
 * module that several processes imported the first line counts.
 *
 * Lines carry no process number: where processes ran side by side, a line
 * belongs to the header last seen. A module that lands with the wrong process
 * costs an unneeded or a missing module, never a wrong one.
 */
export function readTrace(text: string, file: string, options: ReadTraceOptions = {}): Trace {
  const headers: TraceHeader[] = [];
  const modules = new Map<string, TraceModule>();
  const missing = new Set<string>();
  const sysPath = new Set<string>();
  const pures = new PureInputs();
  let accepted = true;
  let start = 0;
  for (let number = 1; start < text.length; number++) {
    const newline = text.indexOf("\n", start);
    const end = newline < 0 ? text.length : newline;
    const line = text.slice(start, end);
    if (line.trim() !== "") {
      const bad = (why: string, cause?: unknown): PycdsError => badLine(text, file, start, number, why, cause);
      const value = parseLine(line, bad);
      if (headers.length === 0 && accepted && !("pycds" in value)) throw bad("the first line is not a trace header");
      if ("pycds" in value) {
        const header = check(traceHeader.safeParse(value), bad);
        accepted = options.accept?.(header) ?? true;
        if (accepted) {
          pures.nextProcess();
          headers.push(header);
          for (const entry of header.sys_path) sysPath.add(entry);
        }
      } else if ("module" in value) {
        const line = check(traceModule.safeParse(value), bad);
        if (accepted && line.module !== null) addModule(modules, { ...line, module: line.module });
      } else if ("missing" in value) {
        const name = check(traceMissing.safeParse(value), bad).missing;
        if (accepted && name !== null) missing.add(name);
      } else if ("sys_path_entry" in value) {
        const entry = check(tracePath.safeParse(value), bad).sys_path_entry;
        if (accepted && entry !== null) sysPath.add(entry);
      } else if ("source" in value) {
        const source = check(traceSource.safeParse(value), bad);
        if (accepted) pures.addSource(source, 1);
      } else if ("pattern" in value) {
        const pattern = check(tracePattern.safeParse(value), bad);
        if (accepted) pures.addPattern(pattern);
      } else {
        throw bad("it is none of header, module, missing, sys_path_entry, source and pattern");
      }
    }
    start = end + 1;
  }
  if (headers.length === 0 && accepted) {
    throw new PycdsError("TRACE_EMPTY", "cannot read trace", "it is empty: no Python wrote to it", {
      file,
      next: "make one with: pycds trace -o FILE -- python …",
    });
  }
  return { headers, modules: [...modules.values()], missing: [...missing], sysPath: [...sysPath], ...pures.done() };
}

/** Several traces as one, in the order given. */
export function mergeTraces(traces: readonly Trace[]): Trace {
  const modules = new Map<string, TraceModule>();
  const pures = new PureInputs();
  for (const trace of traces) {
    for (const module of trace.modules) addModule(modules, module);
    pures.nextProcess();
    for (const source of trace.sources) pures.addSource(source, source.calls);
    for (const pattern of trace.patterns) pures.addPattern(pattern);
  }
  return {
    headers: traces.flatMap((trace) => trace.headers),
    modules: [...modules.values()],
    missing: [...new Set(traces.flatMap((trace) => trace.missing))],
    sysPath: [...new Set(traces.flatMap((trace) => trace.sysPath))],
    ...pures.done(),
  };
}

/**
 * The first line of a module counts, for each file (or namespace path) that it was loaded from: programs of
 * different folders may each have a `config` of their own. That any process had it from stock is kept.
 */
function addModule(modules: Map<string, TraceModule>, module: TraceModule): void {
  const key = `${module.module}\0${module.file ?? (module.path ?? []).join("\0")}`;
  const known = modules.get(key);
  if (known === undefined) modules.set(key, module);
  else if (known.served === true && module.served === false) modules.set(key, { ...known, served: false });
}

type Fault = (why: string, cause?: unknown) => PycdsError;

function parseLine(line: string, bad: Fault): object {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw bad("it is not JSON; the file is cut or is not a trace", cause);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw bad("it is not a JSON object");
  return value;
}

function check<T>(result: { success: true; data: T } | { success: false; error: ZodError }, bad: Fault): T {
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw bad(issue === undefined ? "it has the wrong shape" : `${issue.path.join(".")}: ${issue.message}`, result.error);
}

function badLine(text: string, file: string, start: number, number: number, why: string, cause: unknown): PycdsError {
  return new PycdsError("TRACE_LINE", "cannot read trace", `line ${number}: ${why}`, {
    file,
    offset: Buffer.byteLength(text.slice(0, start)),
    next: "make it anew with: pycds trace -o FILE -- python …",
    cause,
  });
}
