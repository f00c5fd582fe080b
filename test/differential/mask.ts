/**
 * What is replaced in both outputs before they are compared. `varies`: it differs
 * between any two processes, stock ones too. `differs`: ours differs from stock,
 * and docs/differences.md says so. Whatever a case does not name is compared as it is.
 */
interface Mask {
  readonly kind: "varies" | "differs";
  readonly why: string;
  readonly apply: (text: string) => string;
}

export const masks: Readonly<Record<string, Mask>> = {
  addresses: { kind: "varies", why: "address space layout is random", apply: (text) => text.replace(/0x[0-9a-f]+/g, "0x") },
  importtime: {
    kind: "varies",
    why: "-X importtime prints microseconds",
    apply: (text) => text.replace(/^import time: +\d+ \| +\d+ \|/gm, "import time: T | T |"),
  },
  seconds: { kind: "varies", why: "profilers and test runners print times", apply: (text) => text.replace(/\b\d+\.\d+(?: seconds\b|s\b)/g, "T s").replace(/(?<=\s)\d+\.\d{3}(?=\s)/g, "T") },
  reading: { kind: "differs", why: "nothing is opened, unmarshalled or listed for a served module", apply: (text) => text.replace(/^read .*\n/gm, "") },
  descriptors: { kind: "varies", why: "inline caches hold addresses", apply: (text) => text.replace(/((?:descr|func|obj): )\d+/g, "$1N") },
  "cache-versions": {
    kind: "differs",
    why: "versions of types and of dict keys are numbered in the order in which code asks for them, and importlib's own did not run",
    apply: (text) => text.replace(/((?:version|keys_version|keys): )\d+/g, "$1N"),
  },
  "importlib-frames": {
    kind: "differs",
    why: "an error of importlib itself that is no ImportError has importlib's frames in its traceback, which our import path has not",
    apply: (text) => text.replace(/^ *File "<frozen importlib\._bootstrap(?:_external)?>".*\n/gm, ""),
  },
  "same-second": {
    kind: "differs",
    why: "archived code is valid while its source has the second and the size by which importlib knows a .pyc; the .pyc itself is not looked at",
    apply: (text) => text.replace(/^same second: .*\n/gm, ""),
  },
  immortal: { kind: "differs", why: "archived constants are immortal, which 3.14 specialises for", apply: (text) => text.replaceAll("LOAD_CONST_MORTAL  ", "LOAD_CONST_IMMORTAL") },
  "importtime-cached": {
    kind: "differs",
    why: "opening a .pyc, and reading a .pth file, asks for modules that are there already",
    apply: (text) => text.replace(/^import time: cached +\| cached +\| +(?:_io|sys|os)\n/gm, ""),
  },
  "cache-numbers": {
    kind: "differs",
    why: "LOAD_GLOBAL's cache shows a version of dict keys as its index (3.14), and our own code has asked for some before",
    apply: (text) => text.replace(/\(index: \d+\)/g, "(index: N)"),
  },
  activation: {
    kind: "differs",
    why: "the extension module that _pycds.pth imports is imported like any other",
    apply: (text) => text.split("\n").filter((line) => !line.includes("pycds")).join("\n"),
  },
};

export function masked(text: string, names: readonly string[]): string {
  return names.reduce((before, name) => {
    const mask = masks[name];
    if (mask === undefined) throw new Error(`there is no mask "${name}"`);
    return mask.apply(before);
  }, text);
}
