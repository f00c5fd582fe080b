/** Trace files: what is read, and where exactly a bad one is bad. */
import { describe, expect, it } from "vitest";
import { PycdsError } from "../../src/base/errors.ts";
import { mergeTraces, readTrace } from "../../src/trace/read.ts";

const header = (hexversion = 0x030b07f0, sysPath: readonly (string | null)[] = ["/lib"]): string =>
  JSON.stringify({
    pycds: "trace", version: 1, sys_path: sysPath,
    python: { executable: "/bin/python", hexversion, cache_tag: "cpython-311", optimize: 0, prefix: "/usr", base_prefix: "/usr" },
  });
const module = (name: string, served?: boolean): string =>
  JSON.stringify({ module: name, kind: "source", file: `/lib/${name}.py`, path: null, ...(served === undefined ? {} : { served }) });

function fault(text: string): PycdsError {
  try {
    readTrace(text, "app.trace");
  } catch (error) {
    if (error instanceof PycdsError) return error;
    throw error;
  }
  throw new Error("no fault");
}

describe("readTrace", () => {
  it("keeps the order of first appearance over several processes", () => {
    const text = [header(), module("b"), module("a"), '{"missing":"nope"}', header(0x030b07f0, ["/lib", "/more"]), module("a"), module("c"), '{"sys_path_entry":"/x"}', '{"missing":"nope"}', ""].join("\n");
    const trace = readTrace(text, "app.trace");
    expect(trace.modules.map((each) => each.module)).toEqual(["b", "a", "c"]);
    expect(trace.missing).toEqual(["nope"]);
    expect(trace.sysPath).toEqual(["/lib", "/more", "/x"]);
    expect(trace.headers).toHaveLength(2);
  });

  it("remembers that any process had a module from stock", () => {
    const text = [header(), module("a", true), module("b", true), header(), module("a", false)].join("\n");
    expect(readTrace(text, "t").modules.map(({ module: name, served }) => [name, served])).toEqual([["a", false], ["b", true]]);
  });

  it("leaves out processes that are not accepted, with their lines", () => {
    const text = [header(1), module("a"), header(2), module("b"), header(1), module("c")].join("\n");
    const trace = readTrace(text, "t", { accept: ({ python }) => python.hexversion === 1 });
    expect(trace.modules.map((each) => each.module)).toEqual(["a", "c"]);
    expect(trace.headers).toHaveLength(2);
    expect(readTrace(text, "t", { accept: () => false }).headers).toEqual([]);
  });

  it("drops what UTF-8 could not hold", () => {
    const text = [header(1, ["/lib", null]), '{"module":null,"kind":"source","file":null,"path":null}', '{"missing":null}', '{"module":"p","kind":"source","file":null,"path":[null,"/p"]}'].join("\n");
    const trace = readTrace(text, "t");
    expect(trace.sysPath).toEqual(["/lib"]);
    expect(trace.missing).toEqual([]);
    expect(trace.modules).toEqual([{ module: "p", kind: "source", file: null, path: ["/p"] }]);
  });

  it.each([
    ["cut in the middle", `${header()}\n${module("a").slice(0, 20)}`, "TRACE_LINE", "line 2: it is not JSON; the file is cut or is not a trace"],
    ["not an object", `${header()}\n[1]`, "TRACE_LINE", "line 2: it is not a JSON object"],
    ["no header", module("a"), "TRACE_LINE", "line 1: the first line is not a trace header"],
    ["an unknown kind", `${header()}\n\n{"module":"a","kind":"magic","file":null,"path":null}`, "TRACE_LINE", /^line 3: kind: /],
    ["an unknown version", header().replace('"version":1', '"version":2'), "TRACE_LINE", /^line 1: version: /],
    ["none of the four", `${header()}\n{"x":1}`, "TRACE_LINE", /^line 2: it is none of/],
    ["nothing", "", "TRACE_EMPTY", /^it is empty/],
  ])("refuses a trace with %s", (_, text, code, why) => {
    const error = fault(text);
    expect(error.code).toBe(code);
    if (typeof why === "string") expect(error.why).toBe(why);
    else expect(error.why).toMatch(why);
    expect(error.file).toBe("app.trace");
    expect(error.exit).toBe(2);
    expect(error.next).toBeDefined();
  });

  it("gives the offset in bytes, not in characters", () => {
    const first = header().replace("/lib", "/bücher-€");
    expect(fault(`${first}\nx`).offset).toBe(Buffer.byteLength(`${first}\n`));
  });
});

describe("mergeTraces", () => {
  it("keeps modules of one name apart that were loaded from different files", () => {
    const line = (file: string, served: boolean): string => JSON.stringify({ module: "config", kind: "source", file, path: null, served });
    const { modules } = readTrace([header(), line("/a/config.py", true), line("/b/config.py", false), line("/a/config.py", false)].join("\n"), "t");
    expect(modules.map(({ file, served }) => [file, served])).toEqual([["/a/config.py", false], ["/b/config.py", false]]);
  });

  it("joins traces in the order given", () => {
    const one = readTrace([header(), module("a"), module("b")].join("\n"), "1");
    const two = readTrace([header(1, ["/two"]), module("c"), module("a")].join("\n"), "2");
    const merged = mergeTraces([one, two]);
    expect(merged.modules.map((each) => each.module)).toEqual(["a", "b", "c"]);
    expect(merged.sysPath).toEqual(["/lib", "/two"]);
    expect(merged.headers).toHaveLength(2);
  });
});
