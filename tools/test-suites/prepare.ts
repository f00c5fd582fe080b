/**
 * Two venvs with the same pinned packages, alike but for the archive of
 * everything in one of them, and the source packages that hold the tests.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { hex, sha256 } from "../../src/base/digest.ts";
import { PycdsError } from "../../src/base/errors.ts";
import { must } from "../test-cpython/process.ts";
import type { Arm } from "../test-cpython/prefix.ts";
import type { Suite } from "./suites.ts";

export interface Venvs {
  readonly release: string;
  readonly exe: Readonly<Record<Arm, string>>;
  readonly folder: string;
  readonly built: string;
}

const pins = readFileSync(join(dirname(fileURLToPath(import.meta.url)), "requirements.txt"), "utf8");

/** Version to which requirements.txt pins a package. */
export function pinOf(name: string): string {
  const found = pins.split("\n").map((line) => line.split("==")).find(([one]) => one?.toLowerCase() === name.toLowerCase())?.[1];
  if (found === undefined) throw new PycdsError("TEST_USAGE", "cannot run a suite", `requirements.txt does not pin ${name}`, { next: "add it" });
  return found;
}

export async function prepareVenvs(exe: string, pycds: readonly string[], cache: string, say: (text: string) => void): Promise<Venvs> {
  const release = (await must([exe, "-I", "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"])).stdout.trim();
  const folder = join(cache, `${release}-${hex(sha256(Buffer.from(`${exe}\n${pins}`))).slice(0, 12)}`);
  const arms = { stock: join(folder, "stock"), archived: join(folder, "archived") };
  for (const venv of Object.values(arms)) {
    if (existsSync(join(venv, "ready"))) continue;
    say(`making a venv for ${release}`);
    rmSync(venv, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    await must([exe, "-m", "venv", venv]);
    const file = join(folder, "requirements.txt");
    writeFileSync(file, pins);
    // pip compiles what it installs: stock always has warm .pyc files
    await must([join(venv, "bin", "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary", ":all:", "--no-deps", "-r", file]);
    writeFileSync(join(venv, "ready"), "");
  }
  const archive = join(folder, "all.pycds");
  const report = join(folder, "built.txt");
  const age = (file: string): number => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const toolchain = Math.max(...pycds.slice(1).flatMap((file) => [age(file), age(join(file, "..", "..", "dist", "cli", "main.js"))]));
  if (age(archive) <= toolchain || !existsSync(report)) {
    say("building an archive of the standard library and all packages");
    writeFileSync(report, (await must([...pycds, "build", "--all", "--venv", arms.archived, "-o", archive])).stdout);
  }
  await must([...pycds, "install", "--venv", arms.archived, "-a", archive]);
  const python = (venv: string): string => join(venv, "bin", "python");
  return { release, folder, built: readFileSync(report, "utf8"), exe: { stock: python(arms.stock), archived: python(arms.archived) } };
}

/** The folder that pytest is started in: the unpacked source package, of this arm alone; or an empty one. */
export async function suiteFolder(suite: Suite, venvs: Venvs, arm: Arm, say: (text: string) => void): Promise<string> {
  const place = join(venvs.folder, `${arm}-suites`, suite.name);
  if (existsSync(place)) return place;
  const temporary = `${place}.${process.pid}.tmp`;
  rmSync(temporary, { recursive: true, force: true });
  mkdirSync(temporary, { recursive: true });
  try {
    if (suite.from === "sdist") {
      const kept = join(venvs.folder, "sdists", suite.name);
      if (!existsSync(kept)) {
        say(`fetching the source package of ${suite.name}`);
        // without isolation pip would need each package's build tools in the venv, only to read its name
        await must([venvs.exe.stock, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:", "-d", `${kept}.tmp`, `${suite.name}==${pinOf(suite.name)}`]);
        renameSync(`${kept}.tmp`, kept);
      }
      const file = readdirSync(kept).find((name) => name.endsWith(".tar.gz"));
      if (file === undefined) throw new PycdsError("NO_SDIST", `cannot run the suite of ${suite.name}`, "pip brought no source package", { next: "check the network and pip's index settings" });
      await must(["tar", "xzf", join(kept, file), "-C", temporary, "--strip-components=1"]);
      // the tests are run against what is installed
      for (const name of ["src", "lib", suite.module]) rmSync(join(temporary, name), { recursive: true, force: true });
      if (suite.linkLibrary === true) {
        const library = (await must([venvs.exe[arm], "-I", "-c", `import ${suite.module}, os; print(os.path.dirname(os.path.dirname(${suite.module}.__file__)))`])).stdout.trim();
        mkdirSync(join(temporary, "lib"));
        symlinkSync(join(library, suite.module), join(temporary, "lib", suite.module));
      }
    }
    renameSync(temporary, place);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  return place;
}
