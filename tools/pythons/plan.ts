/** Which interpreters are wanted, and the ways in which each can be had. */

export type Flavour = "release" | "debug" | "freethreaded";

/** Where an interpreter that the machine lacks can come from. */
export type Way =
  /** Maven's org.bytedeco:cpython, of a fixed version: PIE with a shared libpython, runs on the system's own C library. */
  | { readonly from: "maven"; readonly artifact: string }
  /** Packages of another Debian release, beside the system's: a static non-PIE executable, release and debug builds in one folder. */
  | { readonly from: "debian"; readonly suite: string; readonly minor: number }
  /** Debian's source package, built without the GIL. */
  | { readonly from: "source"; readonly suite: string; readonly minor: number };

export type Origin = Way["from"];

export interface Wanted {
  /** `3.14`, with the ABI letters of sys.abiflags: `3.13t`, `3.14d`. */
  readonly version: string;
  /** In order of preference: what has a fixed version first. */
  readonly ways: readonly Way[];
}

const bytedeco = (version: string): Way => ({ from: "maven", artifact: `org.bytedeco:cpython:${version}:jar:linux-x86_64` });
const forky = (minor: number): Way => ({ from: "debian", suite: "forky", minor });

export const wanted: readonly Wanted[] = [
  { version: "3.9", ways: [bytedeco("3.9.6-1.5.6")] },
  { version: "3.10", ways: [bytedeco("3.10.8-1.5.8")] },
  { version: "3.11", ways: [bytedeco("3.11.3-1.5.9")] },
  { version: "3.12", ways: [bytedeco("3.12.1-1.5.10")] },
  { version: "3.13", ways: [bytedeco("3.13.5-1.5.12"), { from: "debian", suite: "trixie", minor: 13 }] },
  { version: "3.14", ways: [bytedeco("3.14.3-1.5.13"), forky(14)] },
  { version: "3.15", ways: [forky(15)] },
  { version: "3.13t", ways: [{ from: "source", suite: "trixie", minor: 13 }] },
  { version: "3.14d", ways: [forky(14)] },
];

/** The cache's folder for what a way brings. */
export function entryName(way: Way): string {
  switch (way.from) {
    case "maven":
      return `maven-${way.artifact.split(":")[2] ?? way.artifact}`;
    case "debian":
      return `debian-${way.suite}-3.${way.minor}`;
    case "source":
      return `source-${way.suite}-3.${way.minor}t`;
  }
}

/** For people: `Debian's packages (forky)`. */
export function describeWay(way: Way): string {
  switch (way.from) {
    case "maven":
      return `Maven ${way.artifact}`;
    case "debian":
      return `Debian packages (${way.suite})`;
    case "source":
      return `built from Debian's source package (${way.suite})`;
  }
}

/** `3.14d` of what sys.version_info and sys.abiflags say. */
export function versionName(minor: number, abiflags: string): string {
  return `3.${minor}${abiflags}`;
}

export function flavourOf(abiflags: string): Flavour | undefined {
  switch (abiflags) {
    case "":
      return "release";
    case "d":
      return "debug";
    case "t":
      return "freethreaded";
    default:
      return undefined; // td: no layouts for it
  }
}
