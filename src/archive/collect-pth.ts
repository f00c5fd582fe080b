/**
 * What CPython's start compiles for itself and no trace shows, since it comes before the tracer: the lines of
 * .pth files that site.py executes (addpackage), in a venv twice each.
 */
import type { TraceSource } from "../trace/types.ts";
import type { InterpreterFacts } from "./collect.ts";
import type { TreeView } from "./collect-view.ts";

export interface StartSource extends TraceSource {
  readonly calls: number;
}

/** site.main() looks at a venv's folders in venv() and again in addsitepackages(). */
const executions = 2;

/** @param more lines of .pth files that are yet to come, such as our own */
export function pthSources(interpreter: InterpreterFacts, view: TreeView, more: readonly string[] = []): StartSource[] {
  const withEnds = keepsLineEnds(interpreter, view);
  const texts = interpreter.sitePackages.flatMap((folder) => {
    const names = (view.list(folder) ?? []).filter(({ name, directory }) => !directory && name.endsWith(".pth") && !name.startsWith("."));
    return names.map(({ name }) => name).sort().map((name) => Buffer.from(view.read(`${folder}/${name}`) ?? new Uint8Array()).toString("utf8"));
  });
  const lines = [...more, ...texts].flatMap((text) => executedLines(text, withEnds));
  return [...new Set(lines)].map((source) => ({ source, mode: "exec", flags: 0, calls: executions }));
}

/** Until 3.12 site.py takes a line with its end, as a file gives it; since then it splits the text. */
function keepsLineEnds({ stdlib }: InterpreterFacts, view: TreeView): boolean {
  return Buffer.from(view.read(`${stdlib}/site.py`) ?? new Uint8Array()).includes("in enumerate(f)");
}

function executedLines(text: string, withEnds: boolean): string[] {
  const lines = withEnds ? text.replace(/\r\n?/g, "\n").split(/(?<=\n)/) : text.split(/\r\n?|\n/);
  return lines.filter((line) => /^import[ \t]/.test(line));
}
