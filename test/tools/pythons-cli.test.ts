/** tools/pythons as a command, with stand-ins for Maven and apt: nothing is downloaded. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { wanted } from "../../tools/pythons/plan.ts";
import { pythons } from "../support/pythons.ts";

const scratch = mkdtempSync(join(tmpdir(), "pycds-pythons-cli-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let worlds = 0;

interface World {
  readonly cache: string;
  /** What the stand-ins were told. */
  readonly log: string;
  readonly env: Record<string, string>;
}

const programs = ["sh", "flock", "nice", "cat", "cp", "sleep"];
const path = (name: string): string => spawnSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).stdout.trim();
const lacking = programs.filter((name) => path(name) === "");

/** A PATH of a few programs and the stand-ins (shell scripts by name), and an empty cache. */
function world(standIns: Record<string, string>): World {
  const root = join(scratch, String(worlds++));
  const bin = join(root, "bin");
  mkdirSync(bin, { recursive: true });
  for (const name of programs) symlinkSync(path(name), join(bin, name));
  for (const [name, text] of Object.entries(standIns)) {
    writeFileSync(join(bin, name), `#!/bin/sh\necho "${name} $*" >> ${root}/log\n${text}\n`);
    chmodSync(join(bin, name), 0o755);
  }
  writeFileSync(join(root, "log"), "");
  return { cache: join(root, "pycds-pythons"), log: join(root, "log"), env: { HOME: process.env["HOME"] ?? "", PATH: bin, XDG_CACHE_HOME: root, WORLD: root } };
}

const command = ["--import", "tsx", fileURLToPath(new URL("../../tools/pythons/main.ts", import.meta.url))];
const cwd = fileURLToPath(new URL("../..", import.meta.url));

function tool(at: World, ...args: string[]): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...command, ...args], { encoding: "utf8", env: at.env, cwd });
  return { status, out: stdout, err: stderr };
}

interface Answer {
  pythons: { version: string; exe?: string; headers?: string | null; how?: string; reason?: string }[];
}
const rows = (out: string): Answer["pythons"] => (JSON.parse(out) as Answer).pythons;

describe.skipIf(lacking.length > 0)(`tools/pythons${lacking.length > 0 ? ` (no ${lacking.join(", ")})` : ""}`, () => {
  it("lists each version, found or not, and brings nothing", () => {
    const at = world({ mvn: "exit 1", "apt-get": "exit 1" });
    const { status, out } = tool(at, "--list", "--json");
    expect(status).toBe(0);
    expect(new Set(rows(out).map(({ version }) => version))).toEqual(new Set(wanted.map(({ version }) => version)));
    for (const row of rows(out)) expect(row.reason ?? row.exe, row.version).toMatch(/^\/|^not here; can be had: (?:Maven|Debian|built)/);
    expect(readFileSync(at.log, "utf8")).toBe("");
    expect(existsSync(at.cache)).toBe(false);
  });

  it("refuses what it does not know", () => {
    const at = world({});
    expect(tool(at, "3.7")).toMatchObject({ status: 2, out: "", err: expect.stringMatching(/^pythons: error: unknown version — 3\.7 — use 3\.9, .*\n$/) as string });
    expect(tool(at, "--from", "afar")).toMatchObject({ status: 2, err: "pythons: error: unknown way — --from afar — use maven, debian or source\n" });
    expect(tool(at, "--nonsense")).toMatchObject({ status: 2 });
  });

  it("says of each way why it failed", () => {
    const { status, out } = tool(world({}), "--json", "--quiet", "--from", "maven", "3.14");
    expect(status).toBe(1);
    expect(rows(out).at(-1)?.reason).toMatch(/^Maven org\.bytedeco\S+: cannot get org\.bytedeco\S+ — mvn is not installed$/);
    const offline = world({ mvn: "echo '[ERROR] Failed to execute goal: Unknown host example' ; exit 1" });
    expect(rows(tool(offline, "--json", "--from", "maven", "3.14").out).at(-1)?.reason).toContain("no network: Failed to execute goal: Unknown host example");
    expect(readdirSync(offline.cache)).toEqual([".locks"]);
  });

  const some = pythons()[0];
  /** A Maven that brings a jar with an interpreter that only answers what it is asked. */
  function maven(version: string): World {
    const at = world({ mvn: `for a; do case "$a" in -DoutputDirectory=*) cp $WORLD/jar "\${a#*=}/cpython.jar";; esac; done` });
    const python = `#!/bin/sh\ncase "$3" in *compileall*) ;; *sysconfig*) echo /nowhere ;; *) echo '{"name": "cpython", "version": [${version}], "abiflags": ""}' ;; esac\n`;
    const program = "import sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], 'w', 8) as z: z.writestr('org/bytedeco/cpython/linux-x86_64/bin/python3.14', sys.argv[2])";
    execFileSync(some?.exe ?? "", ["-c", program, join(at.cache, "../jar"), python]);
    return at;
  }

  it.skipIf(some === undefined)("brings one, and only once", () => {
    const at = maven("3, 14, 9");
    const first = tool(at, "--json", "--from", "maven", "3.14");
    const row = rows(first.out).find(({ exe }) => exe?.startsWith(at.cache));
    expect(row).toMatchObject({ version: "3.14", release: "3.14.9", flavour: "release", headers: null, how: expect.stringMatching(/^Maven /) as string });
    expect(first.status).toBe(0);
    expect(tool(at, "--json", "--from", "maven", "3.14")).toEqual({ ...first, err: "" });
    expect(readFileSync(at.log, "utf8").match(/^mvn /gm)).toHaveLength(1);
  });

  it.skipIf(some === undefined)("does not take one version for another", () => {
    const { status, out } = tool(maven("3, 13, 1"), "--json", "--from", "maven", "3.14");
    expect({ status, reason: rows(out).at(-1)?.reason }).toEqual({ status: 1, reason: expect.stringMatching(/: it has 3\.13, not 3\.14$/) as string });
  });

  it.each(["SIGINT", "SIGTERM"] as const)("ends by %s with its children, and leaves nothing half-made", async (signal) => {
    const at = world({ mvn: "echo $$ > $WORLD/mvn.pid.new; mv $WORLD/mvn.pid.new $WORLD/mvn.pid; sleep 60 & wait" });
    symlinkSync(path("mv"), join(at.env["PATH"] ?? "", "mv"));
    const child = spawn(process.execPath, [...command, "--from", "maven", "3.14"], { env: at.env, cwd, stdio: "ignore" });
    const ended = new Promise((resolve) => child.once("close", (_, by) => resolve(by)));
    const pid = join(at.cache, "../mvn.pid");
    for (let i = 0; i < 500 && !existsSync(pid); i++) await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill(signal);
    expect(await ended).toBe(signal);
    expect(existsSync(`/proc/${readFileSync(pid, "utf8").trim()}`)).toBe(false);
    expect(readdirSync(at.cache)).toEqual([".locks"]);
  });

  const debian = existsSync("/etc/os-release") && /^ID=debian$/m.test(readFileSync("/etc/os-release", "utf8"));

  it.skipIf(!debian)("asks apt with a configuration of its own: the system's mirror and proxy, none of its hooks and folders", () => {
    const at = world({
      "apt-config": `cat <<'E'\nAcquire::http::Proxy "http://proxy.example:3142";\nAPT::Update::Post-Invoke:: "rm -f /var/cache/apt/*.bin";\nDir::State "var/lib/apt";\nE`,
      "apt-get": `case "$*" in indextargets*) . /etc/os-release; echo "other other main http://other.example/"; echo "$VERSION_CODENAME $VERSION_CODENAME main http://debian.example/debian/";; *) cat $APT_CONFIG $WORLD/pycds-pythons/.apt-*/sources/* > $WORLD/seen; echo "Temporary failure resolving 'debian.example'"; exit 100;; esac`,
    });
    const { status, out } = tool(at, "--json", "--from", "debian", "3.15");
    expect({ status, reason: rows(out).at(-1)?.reason }).toEqual({ status: 1, reason: "Debian packages (forky): cannot read the package lists of forky — no network: Temporary failure resolving 'debian.example'" });
    const seen = readFileSync(join(at.cache, "../seen"), "utf8");
    expect(seen).toContain('Acquire::http::Proxy "http://proxy.example:3142";');
    expect(seen).toContain("URIs: http://debian.example/debian/\nSuites: forky\n");
    expect(seen).not.toContain("Invoke");
    const folders = [...seen.matchAll(/^Dir::\S+ "(.+)";$/gm)].map(([, folder]) => folder ?? "");
    expect(seen).toContain('Dir::Etc::main "/dev/null";');
    expect(seen).toContain(`Dir::Etc::parts "${at.cache}/`);
    expect(folders.length).toBeGreaterThan(6);
    expect(folders.filter((folder) => folder !== "/dev/null" && !folder.startsWith(at.cache))).toEqual([]);
  });
});
