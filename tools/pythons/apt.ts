/**
 * Debian's packages by apt, with a configuration, state and cache of our own:
 * nothing of the system's is written and none of its hooks run. Mirror and proxy
 * are the system's. Works without being root.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PycdsError } from "../../src/base/errors.ts";
import { withLock } from "./lock.ts";
import { run } from "./run.ts";
import type { Work } from "./cache.ts";

/** Where Debian's own keyring package puts the archive's keys (.pgp from trixie on). */
const keyrings = ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];

export interface Packages {
  /** Package files, below the folder asked for. */
  readonly files: readonly string[];
  /** The first package's version. */
  readonly version: string;
}

/**
 * Downloads packages of a suite with all that they depend on (an empty dpkg status: nothing counts as installed).
 * @throws PycdsError with a one-line reason
 */
export async function downloadPackages(suite: string, names: readonly string[], folder: string, work: Work): Promise<Packages> {
  return await withApt(suite, "deb", work, async (apt) => {
    mkdirSync(join(folder, "partial"), { recursive: true });
    await apt(["apt-get", "install", "--yes", "--download-only", "-o", `Dir::Cache::archives=${folder}`, ...names], `download ${names.join(", ")}`);
    const policy = await apt(["apt-cache", "show", "--no-all-versions", names[0] ?? ""], `look up ${names[0]}`);
    const files = readdirSync(folder).filter((name) => name.endsWith(".deb")).sort().map((name) => join(folder, name));
    return { files, version: /^Version: (.*)$/m.exec(policy)?.[1] ?? "" };
  });
}

/** Downloads a source package: its files and version. */
export async function downloadSource(suite: string, name: string, folder: string, work: Work): Promise<Packages> {
  return await withApt(suite, "deb-src", work, async (apt) => {
    mkdirSync(folder, { recursive: true });
    await apt(["apt-get", "source", "--download-only", name], `download the source of ${name}`, folder);
    const files = readdirSync(folder).sort().map((file) => join(folder, file));
    const description = files.find((file) => file.endsWith(".dsc"));
    const version = description === undefined ? undefined : /^Version: (.*)$/m.exec(readFileSync(description, "utf8"))?.[1];
    return { files, version: version ?? "" };
  });
}

type Apt = (command: readonly [string, ...string[]], what: string, cwd?: string) => Promise<string>;

async function withApt(suite: string, type: "deb" | "deb-src", work: Work, use: (apt: Apt) => Promise<Packages>): Promise<Packages> {
  const name = `apt-${suite}-${type}`;
  const root = join(work.cache, `.${name}`);
  const waiting = (): void => work.say(`waiting for another run that uses ${name}`);
  return await withLock(join(work.cache, ".locks", name), { signal: work.signal, waiting }, async () => {
    const mirror = await systemMirror(work);
    const config = writeConfiguration(root, suite, type, mirror, await acquisition(work));
    const apt: Apt = async ([command, ...args], what, cwd) =>
      await run(command, args, { what, signal: work.signal, env: { APT_CONFIG: config, DEBIAN_FRONTEND: "noninteractive" }, ...(cwd === undefined ? {} : { cwd }) });
    work.say(`reading the package lists of ${suite}`);
    // Without the option, a mirror that cannot be reached is a warning and status 0.
    await apt(["apt-get", "-o", "APT::Update::Error-Mode=any", "update"], `read the package lists of ${suite}`);
    return await use(apt);
  });
}

/** The archive that the system's own release comes from. */
async function systemMirror(work: Work): Promise<string> {
  const what = "find the system's Debian mirror";
  const fail = (why: string): PycdsError => new PycdsError("APT_MIRROR", `cannot ${what}`, why);
  const release = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  const value = (name: string): string | undefined => new RegExp(`^${name}="?([^"\n]*)"?$`, "m").exec(release)?.[1];
  if (value("ID") !== "debian") throw fail(`this is ${value("PRETTY_NAME") ?? "not Debian"}, and packages come only from a Debian system's own mirror`);
  const targets = await run("apt-get", ["indextargets", "--format", "$(CODENAME) $(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"], { what, signal: work.signal });
  const suite = value("VERSION_CODENAME");
  const found = targets.split("\n").map((line) => line.split(" ")).find(([codename, name, component]) => component === "main" && suite !== undefined && (codename === suite || name === suite));
  const uri = found?.[3];
  if (uri === undefined) throw fail(`apt knows no source of ${suite ?? "this release"} main`);
  return uri;
}

/** Proxies, time-outs, whether expired lists of a frozen mirror are good enough: as the system's configuration has it. */
async function acquisition(work: Work): Promise<string[]> {
  const dump = await run("apt-config", ["dump"], { what: "read apt's configuration", signal: work.signal });
  return dump.split("\n").filter((line) => line.startsWith("Acquire::") && !line.startsWith("Acquire::IndexTargets"));
}

function writeConfiguration(root: string, suite: string, type: string, mirror: string, acquire: readonly string[]): string {
  const folder = (name: string): string => {
    const path = join(root, name);
    mkdirSync(path, { recursive: true });
    return path;
  };
  folder("state/lists/partial");
  folder("cache/archives/partial");
  const status = join(folder("dpkg"), "status");
  writeFileSync(status, "");
  const sources = folder("sources");
  const keys = keyrings.find((file) => existsSync(file));
  const stanza = [`Types: ${type}`, `URIs: ${mirror}`, `Suites: ${suite}`, "Components: main", ...(keys === undefined ? [] : [`Signed-By: ${keys}`])];
  rmSync(join(sources, "debian.sources"), { force: true });
  writeFileSync(join(sources, "debian.sources"), `${stanza.join("\n")}\n`);
  const config = join(root, "apt.conf");
  // The files of Dir::Etc::main and parts are read after this one: without them, no hook of the system's runs.
  const lines = [
    `Dir::Etc::main "/dev/null";`,
    `Dir::Etc::parts "${folder("parts")}";`,
    `Dir::Etc::sourcelist "/dev/null";`,
    `Dir::Etc::sourceparts "${sources}";`,
    `Dir::State "${join(root, "state")}";`,
    `Dir::State::status "${status}";`,
    `Dir::Cache "${join(root, "cache")}";`,
    `Dir::Log "${folder("log")}";`,
    // The cache may be in a home folder that apt's own user cannot enter.
    `APT::Sandbox::User "";`,
    `APT::Install-Recommends "false";`,
    ...acquire,
    `Acquire::Languages "none";`,
    // Lists are read once a run: kept small rather than quick.
    `Acquire::GzipIndexes "true";`,
    `Dir::Cache::pkgcache "";`,
    `Dir::Cache::srcpkgcache "";`,
  ];
  writeFileSync(config, `${lines.join("\n")}\n`);
  return config;
}
