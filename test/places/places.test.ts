/**
 * Where trees lie and how their .pyc files came about: each case runs the same
 * imports stock and archived, and compares all that the process can see of them,
 * what it writes, and what it leaves on the disk.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, utimesSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkout } from "../support/built.ts";
import { readEvents } from "../validity/world.ts";
import { expectSame, modulesOf, opened, Place, placePythons, snapshot } from "./place.ts";

/** Becomes the user nobody, then the program of its arguments. */
const asNobody = "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); os.environ['HOME'] = '/'; os.execv(sys.argv[1], sys.argv[1:])";

/** Why another user cannot be tried with this interpreter; undefined: it can. */
function noStranger(exe: string): string | undefined {
  if (process.getuid?.() !== 0) return "this is not root";
  return spawnSync(exe, ["-c", asNobody, exe, "-c", "import json"]).status === 0 ? undefined : "its folder is closed to other users";
}

/** Names in a tree that stock's imports could have written. */
function written(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".pyc"))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}

function forget(folder: string): void {
  for (const file of written(folder)) rmSync(file);
}

for (const { title, version, python } of placePythons()) {
  describe.skipIf(python === undefined)(title, () => {
    let world: Place;
    const shaped = ["shaped", "shaped.inner", "shaped.inner.deep"];
    /** A package, a package in it, a namespace package; each says where it thinks it is. */
    const shape = (folder: string, mark = "one"): void => {
      world.write(`${folder}/shaped/__init__.py`, `import json\nfrom .inner import deep\nimport spaced.part\nmark = '${mark}'\ndef where():\n    return [where.__code__.co_filename, __file__, __spec__.origin, __path__, (lambda: 0).__code__.co_filename]\n`);
      world.write(`${folder}/shaped/inner/__init__.py`, "class Inner:\n    def method(self):\n        return self\n");
      world.write(`${folder}/shaped/inner/deep.py`, "def deep():\n    def deeper():\n        pass\n    return deeper.__code__.co_filename\n");
      world.write(`${folder}/spaced/part.py`, "value = __name__\n");
    };
    const show = "import shaped, spaced.part, sys; print(shaped.mark, shaped.where(), shaped.inner.deep.deep(), list(spaced.__path__), spaced.part.__spec__.origin)";
    /** Runs in a tree of its own, with PYTHONPATH there. */
    const there = (folder: string, more: Readonly<Record<string, string>> = {}): Record<string, string> => ({ PYTHONPATH: world.path(folder), ...more });
    const built = (name: string, folder: string, options: readonly string[] = [], more: Readonly<Record<string, string>> = {}): string =>
      world.build(name, [world.exe, "-c", show], options, there(folder, more));
    const names = (hits: readonly string[]): string[] => hits.filter((hit) => /^(shaped|spaced)\b/.test(hit)).toSorted();
    const all = [...shaped, "spaced.part"];

    beforeAll(() => {
      world = new Place(python?.exe ?? "");
      // what describes the others must come from its .pyc in both processes: code just compiled has other strings interned
      for (const level of ["0", "1", "2"]) world.must(world.spawn([world.exe, "-m", "compileall", "-q", "-o", level, dirname(snapshot)]));
    });
    afterAll(() => {
      for (const folder of ["locked", "shared"]) if (existsSync(world.path(folder))) unlock(world.path(folder));
      world.remove();
    });
    const unlock = (folder: string): void => {
      chmodSync(folder, 0o755);
      for (const entry of readdirSync(folder, { withFileTypes: true })) if (entry.isDirectory()) unlock(join(folder, entry.name));
    };

    describe("a tree that moves", () => {
      it("with its archive in it, renamed or copied: --relocatable serves it where it is, other archives leave it to stock", () => {
        shape("home/one/lib");
        const relocatable = world.build("home/one/app.pycds", [world.exe, "-c", show], ["--relocatable"], there("home/one/lib"));
        const fixed = built("fixed.pycds", "home/one/lib");
        expect(opened(relocatable).meta().options.relocatable).toBe(true);
        expect(names(world.same([relocatable], [world.exe], "shaped", there("home/one/lib")).hit)).toEqual(all);
        renameSync(world.path("home/one"), world.path("home/two"));
        const moved = world.same([world.path("home/two/app.pycds")], [world.exe], "shaped", there("home/two/lib"));
        expect(names(moved.hit)).toEqual(all);
        expect([moved.stale, moved.refused]).toEqual([[], []]);
        const stayed = world.same([fixed], [world.exe], "shaped", there("home/two/lib"));
        expect(names(stayed.hit)).toEqual([]);
        expect(stayed.hit).toContain("json");
        const run = world.launched([world.path("home/two/app.pycds")], [world.exe, "-c", show], there("home/two/lib"));
        expect(run.outcome).toEqual(world.spawn([world.exe, "-c", show], there("home/two/lib")));
        expect(run.outcome.stdout).toContain(world.path("home/two/lib/shaped/__init__.py"));
        expect(run.outcome.stdout).not.toContain(world.path("home/one"));

        // a copy beside it: each process sees its own, and a change in one shows there alone
        cpSync(world.path("home/two"), world.path("home/three"), { recursive: true, preserveTimestamps: true });
        world.write("home/three/lib/shaped/inner/deep.py", "def deep():\n    return 'changed in the copy'\n");
        const copied = world.same([world.path("home/three/app.pycds")], [world.exe], "shaped", there("home/three/lib"));
        expect(copied.hit).toEqual(expect.arrayContaining(["shaped", "shaped.inner"]));
        expect(copied.stale).toEqual(["shaped.inner.deep: source changed"]);
        // both trees on sys.path: a recorded folder stands for one of them only
        const both = { PYTHONPATH: `${world.path("home/two/lib")}:${world.path("home/three/lib")}` };
        world.same([world.path("home/three/app.pycds")], [world.exe], "shaped", both);
        world.same([world.path("home/two/app.pycds")], [world.exe], "shaped", both);
      });

      it("a venv, its archive installed in it or named from outside", () => {
        const venv = world.path("venvs/first");
        world.must(world.spawn([world.exe, "-m", "venv", "--without-pip", venv]));
        shape(`venvs/first/lib/python${version}/site-packages`);
        const argv = [join(venv, "bin/python"), "-c", show];
        const outside = world.build("outside.pycds", argv, ["--relocatable"]);
        world.must(world.cli(["install", "--venv", venv, "-a", outside]));
        renameSync(venv, world.path("venvs/second"));
        const exe = world.path("venvs/second/bin/python");
        const log = world.path("installed.log");
        const stock = world.spawn([exe, "-c", show], { PYCDS: "off" });
        expect(world.spawn([exe, "-c", show], { PYCDS_LOG: log })).toEqual(stock);
        expect(stock.stdout).toContain(world.path("venvs/second"));
        expect(names(readFileSync(log, "utf8").split("\n").filter((line) => line.startsWith("pycds: hit ")).map((line) => line.slice("pycds: hit ".length)))).toEqual(all);
        world.must(world.cli(["uninstall", "--venv", world.path("venvs/second")]));
        expect(names(world.same([outside], [exe], "shaped").hit)).toEqual(all);
      });

      it("the same tree through symbolic links: other paths, which only stock can tell", () => {
        shape("real/lib");
        const archive = built("real.pycds", "real/lib");
        symlinkSync(world.path("real"), world.path("linked"));
        const linked = world.same([archive], [world.exe], "shaped", there("linked/lib"));
        expect(names(linked.hit)).toEqual([]);
        const own = built("linked.pycds", "linked/lib");
        expect(names(world.same([own], [world.exe], "shaped", there("linked/lib")).hit)).toEqual(all);
        // site-packages itself a link
        const venv = world.path("linkedvenv");
        world.must(world.spawn([world.exe, "-m", "venv", "--without-pip", venv]));
        const site = join(venv, `lib/python${version}/site-packages`);
        rmSync(site, { recursive: true });
        symlinkSync(world.path("real/lib"), site);
        const exe = join(venv, "bin/python");
        const inside = world.build("site.pycds", [exe, "-c", show]);
        expect(names(world.same([inside], [exe], "shaped").hit)).toEqual(all);
      });
    });

    describe("file systems and users", () => {
      it.each([
        ["non-ASCII", "ünïcode-文件夹-🐍"],
        ["with spaces and quotes", "a b'c\"d;$e"],
        ["very long", Array.from({ length: 14 }, (_, number) => `${number}`.padEnd(200, "x")).join("/")],
      ])("a path %s", (_, folder) => {
        shape(`${folder}/lib`);
        const archive = built("odd.pycds", `${folder}/lib`);
        expect(names(world.same([archive], [world.exe], "shaped", there(`${folder}/lib`)).hit)).toEqual(all);
        rmSync(world.path(folder.split("/")[0] ?? ""), { recursive: true });
      });

      it("a path that is not UTF-8 is stock's", () => {
        shape("latin/lib");
        const archive = built("latin.pycds", "latin/lib");
        const script = world.write("latin.py", [
          "import os, sys",
          "bad = os.fsdecode(os.path.dirname(os.path.abspath(__file__)).encode() + b'/l\\xe4tin')",
          "if not os.path.exists(bad): os.rename(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'latin'), bad)",
          "sys.path.insert(0, bad + '/lib')",
          "import shaped",
          "print(ascii(shaped.where()))",
        ].join("\n"));
        const stock = world.spawn([world.exe, script]);
        const { outcome, events } = world.launched([archive], [world.exe, script]);
        expect(outcome).toEqual(stock);
        expect([stock.status, stock.stdout]).toEqual([0, expect.stringContaining("\\udce4")]);
        expect(names(events.hit)).toEqual([]);
        expect(events.hit).toContain("json");
      });

      it("folders that nobody may write: served with and without .pyc files, as stock writes none", () => {
        shape("locked/lib");
        const archive = built("locked.pycds", "locked/lib");
        const lock = (folder: string): void => {
          for (const entry of readdirSync(folder, { withFileTypes: true })) if (entry.isDirectory()) lock(join(folder, entry.name));
          chmodSync(folder, 0o555);
        };
        lock(world.path("locked"));
        expect(names(world.same([archive], [world.exe], "shaped", there("locked/lib")).hit)).toEqual(all);
        unlock(world.path("locked"));
        forget(world.path("locked"));
        lock(world.path("locked"));
        // root writes where nobody may: then it is as with any folder
        const root = process.getuid?.() === 0;
        expect(names(world.launched([archive], [world.exe, "-c", show], there("locked/lib")).events.hit)).toEqual(root ? [] : all);
        expect(written(world.path("locked"))).toHaveLength(root ? 4 : 0);
        unlock(world.path("locked"));
      });

      const stranger = python === undefined ? "there is no interpreter" : noStranger(python.exe);
      it.skipIf(stranger !== undefined)(`a tree of root's, used by another user: stock could write no .pyc there${stranger === undefined ? "" : ` (not tested: ${stranger})`}`, () => {
        shape("shared/lib");
        for (const folder of [world.folder, world.path("shared"), world.path("shared/lib")]) chmodSync(folder, 0o755);
        const archive = built("shared.pycds", "shared/lib");
        const argv = [world.exe, "-c", asNobody, world.exe, "-c", show];
        for (const turn of ["with", "without"]) {
          if (turn === "without") forget(world.path("shared"));
          mkdirSync(world.path("open"), { recursive: true });
          chmodSync(world.path("open"), 0o777);
          const log = world.path(`open/${turn}.log`);
          // an installed runtime is what such users have; here it is on PYTHONPATH
          copyFileSync(join(checkout, "build/native/_pycds.so"), world.path("shared/lib/_pycds.so"));
          const stock = world.spawn(argv, there("shared/lib"));
          const served = world.spawn([...argv.slice(0, -1), `import _pycds; ${show}`], there("shared/lib", { PYCDSARCHIVE: archive, PYCDS_LOG: log }));
          expect(served).toEqual(stock);
          expect(stock.status).toBe(0);
          expect(names(readEvents(log).hit)).toEqual(all);
          expect(written(world.path("shared"))).toHaveLength(turn === "with" ? 4 : 0);
        }
      });
    });

    describe(".pyc files", () => {
      const folders = { archived: "pyc/archived", stock: "pyc/stock" };
      /** Two like trees, one for each way; what each writes must be the same. Their paths are of one length. */
      const pair = (prepare: (folder: string) => void): string => {
        rmSync(world.path("pyc"), { recursive: true, force: true });
        for (const folder of Object.values(folders)) {
          shape(folder);
          prepare(folder);
        }
        return folders.archived;
      };
      const wrote = (folder: string): string[] => written(world.path(folder)).map((file) => file.slice(world.path(folder).length));

      it("none on the disk: the first run leaves the modules to stock, which writes them; then they are served", () => {
        const folder = pair(() => undefined);
        // built from sources alone, as of a tree that was deployed without .pyc files
        const archive = built("bare.pycds", folder, [], { PYTHONDONTWRITEBYTECODE: "1" });
        expect(modulesOf(archive)).toEqual(expect.arrayContaining(all));
        expect(wrote(folders.archived)).toEqual([]);
        const frugal = world.launched([archive], [world.exe, "-c", show], there(folder, { PYTHONDONTWRITEBYTECODE: "1" }));
        expect([names(frugal.events.hit), wrote(folders.archived)]).toEqual([all, []]);
        const first = world.launched([archive], [world.exe, "-c", show], there(folder));
        world.must(world.spawn([world.exe, "-c", show], there(folders.stock)));
        expect(names(first.events.hit)).toEqual([]);
        expect(first.events.miss).toEqual(expect.arrayContaining(all.map((name) => `${name}: stock writes its .pyc first`)));
        expect(wrote(folders.archived)).toEqual(wrote(folders.stock));
        expect(wrote(folders.archived)).toHaveLength(4);
        expect(names(world.same([archive], [world.exe], "shaped", there(folder)).hit)).toEqual(all);
      });

      it("removed or spoilt after the build: stock writes them anew, and they are served again", () => {
        const folder = pair(() => undefined);
        const archive = built("kept.pycds", folder);
        expect(names(world.launched([archive], [world.exe, "-c", show], there(folder)).events.hit)).toEqual(all);
        const [one = "", two = ""] = written(world.path(folder));
        rmSync(one);
        rmSync(two);
        copyFileSync(world.path("kept.pycds.trace"), two); // a file of its own, as any tool leaves it that replaces one
        const again = world.launched([archive], [world.exe, "-c", show], there(folder));
        expect(again.outcome.status).toBe(0);
        expect(again.events.miss.filter((miss) => miss.endsWith(": stock writes its .pyc first"))).toHaveLength(2);
        expect(existsSync(one)).toBe(true);
        expect(readFileSync(two).subarray(0, 4)).toEqual(readFileSync(one).subarray(0, 4));
        expect(names(world.same([archive], [world.exe], "shaped", there(folder)).hit)).toEqual(all);
      });

      it("without sources: the .pyc is what was compared, and co_filename is what it says", () => {
        const folder = pair(() => undefined);
        world.must(world.spawn([world.exe, "-m", "compileall", "-q", "-b", world.path(folder)]));
        for (const file of ["shaped/__init__.py", "shaped/inner/__init__.py", "shaped/inner/deep.py", "spaced/part.py"]) rmSync(world.path(folder, file));
        const archive = built("sourceless.pycds", folder);
        expect(names(world.same([archive], [world.exe], "shaped", there(folder)).hit)).toEqual(all);
        // moved: stock fixes no co_filename of a .pyc without source (importlib, SourcelessFileLoader.get_code)
        mkdirSync(world.path("pyc/box"), { recursive: true });
        cpSync(world.path(folder), world.path("pyc/box/lib"), { recursive: true, preserveTimestamps: true });
        const boxed = world.build("pyc/box/app.pycds", [world.exe, "-c", show], ["--relocatable"], there("pyc/box/lib"));
        renameSync(dirname(boxed), world.path("pyc/moved"));
        const moved = world.same([world.path("pyc/moved/app.pycds")], [world.exe], "shaped", there("pyc/moved/lib"));
        expect(names(moved.hit)).toEqual(all);
        utimesSync(world.path("pyc/moved/lib/spaced/part.pyc"), 1, 1);
        expect(world.same([world.path("pyc/moved/app.pycds")], [world.exe], "shaped", there("pyc/moved/lib")).stale).toEqual(["spaced.part: .pyc changed"]);
      });

      it("hash-based: checked ones go by contents, unchecked ones by the .pyc; --check-hash-based-pycs always and never are stock's", () => {
        for (const mode of ["checked-hash", "unchecked-hash"]) {
          const folder = pair((each) => world.must(world.spawn([world.exe, "-m", "compileall", "-q", "--invalidation-mode", mode, world.path(each)])));
          const archive = built(`${mode}.pycds`, folder);
          const deep = world.path(folder, "shaped/inner/deep.py");
          expect(names(world.same([archive], [world.exe], "shaped", there(folder)).hit)).toEqual(all);
          utimesSync(deep, 1, 1); // the contents are as they were
          expect(names(world.same([archive], [world.exe], "shaped", there(folder)).hit)).toEqual(all);
          for (const check of ["default", "always", "never"]) {
            const events = world.same([archive], [world.exe, "--check-hash-based-pycs", check], "shaped", there(folder));
            expect(names(events.hit)).toEqual(check === "default" ? all : []);
          }
          const before = statSync(deep);
          world.write(`${folder}/shaped/inner/deep.py`, readFileSync(deep, "utf8").replaceAll("deeper", "DEEPER"));
          utimesSync(deep, before.atime, before.mtime);
          for (const check of ["default", "always", "never"]) {
            const argv = [world.exe, "--check-hash-based-pycs", check];
            const stockPicture = world.picture((words) => world.spawn(words, there(folder, { PYTHONDONTWRITEBYTECODE: "1" })), argv, "shaped");
            let hits: readonly string[] = [];
            const ours = world.picture((words) => {
              const done = world.launched([archive], words, there(folder, { PYTHONDONTWRITEBYTECODE: "1" }));
              hits = names(done.events.hit);
              return done.outcome;
            }, argv, "shaped");
            expectSame(stockPicture, ours);
            expect(hits).toEqual(check !== "default" ? [] : mode === "checked-hash" ? all.filter((name) => !name.endsWith("deep")) : all);
          }
        }
      });

      it("unchecked hash-based ones with --digest: the .pyc's contents count, whatever its mtime is", () => {
        const folder = pair((each) => world.must(world.spawn([world.exe, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", world.path(each)])));
        const archive = built("unchecked-digest.pycds", folder, ["--digest"]);
        const deep = world.path(folder, "shaped/inner/deep.py");
        const [pyc = ""] = written(world.path(folder, "shaped/inner")).filter((name) => name.includes("deep"));
        const before = statSync(pyc);
        utimesSync(pyc, 1, 1);
        expect(names(world.same([archive], [world.exe], "shaped", there(folder)).hit)).toEqual(all);
        // what stock runs: another .pyc of the same size and mtime; the source is as it was
        const text = readFileSync(deep, "utf8");
        world.write(`${folder}/shaped/inner/deep.py`, text.replaceAll("deeper", "DEEPER"));
        world.must(world.spawn([world.exe, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", deep]));
        world.write(`${folder}/shaped/inner/deep.py`, text);
        utimesSync(pyc, before.atime, before.mtime);
        expect(statSync(pyc).size).toBe(before.size);
        expect(world.same([archive], [world.exe], "shaped", there(folder)).stale).toEqual(["shaped.inner.deep: .pyc contents changed"]);
      });

      it("unchecked hash-based ones that take the place of others after the build are stock's to run", () => {
        const folder = pair(() => undefined);
        const archive = built("replaced.pycds", folder);
        const deep = world.path(folder, "shaped/inner/deep.py");
        const before = { text: readFileSync(deep, "utf8"), stat: statSync(deep) };
        world.write(`${folder}/shaped/inner/deep.py`, before.text.replaceAll("deeper", "OTHERS"));
        world.must(world.spawn([world.exe, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", deep]));
        world.write(`${folder}/shaped/inner/deep.py`, before.text);
        utimesSync(deep, before.stat.atime, before.stat.mtime);
        const events = world.same([archive], [world.exe], "shaped", there(folder));
        expect(events.miss).toContain("shaped.inner.deep: its .pyc is hash-based now");
        expect(names(events.hit)).toEqual(all.filter((name) => !name.endsWith("deep")));
      });

      it("SOURCE_DATE_EPOCH: compileall makes checked ones, which serve whatever the mtimes are", () => {
        const epoch = { SOURCE_DATE_EPOCH: "315532800" };
        const folder = pair((each) => world.must(world.spawn([world.exe, "-m", "compileall", "-q", world.path(each)], epoch)));
        const archive = built("epoch.pycds", folder, [], epoch);
        for (const entry of readdirSync(world.path(folder), { recursive: true, withFileTypes: true })) utimesSync(join(entry.parentPath, entry.name), 315532800, 315532800);
        expect(names(world.same([archive], [world.exe], "shaped", there(folder, epoch)).hit)).toEqual(all);
      });

      it("a container layer whose mtimes are all zeroed: --digest serves by contents and listings, others not", () => {
        const folder = pair(() => undefined);
        const digest = built("digest.pycds", folder, ["--digest"]);
        const plain = built("plain.pycds", folder);
        const zero = (): void => {
          for (const entry of readdirSync(world.path(folder), { recursive: true, withFileTypes: true })) utimesSync(join(entry.parentPath, entry.name), 0, 0);
          utimesSync(world.path(folder), 0, 0);
        };
        zero();
        // stock would compile anew and write; where nothing is written both leave the tree as it is
        const frugal = there(folder, { PYTHONDONTWRITEBYTECODE: "1" });
        expect(names(world.same([digest], [world.exe], "shaped", frugal).hit)).toEqual(all);
        expect(world.same([plain], [world.exe], "shaped", frugal).stale).toHaveLength(4);
        expect(names(world.launched([digest], [world.exe, "-c", show], there(folder)).events.hit)).toEqual(all);
        // the next layer: one source of the same size, one name more, and every mtime zero again
        world.write(`${folder}/shaped/inner/deep.py`, readFileSync(world.path(folder, "shaped/inner/deep.py"), "utf8").replaceAll("deeper", "DEEPER"));
        world.write(`${folder}/spaced/__init__.py`, "came = 'later'\n");
        zero();
        const next = built("zeroed.pycds", folder, ["--digest"], { PYTHONDONTWRITEBYTECODE: "1" });
        rmSync(world.path(folder, "spaced/__init__.py"));
        zero();
        const changed = world.same([digest], [world.exe], "shaped", frugal);
        expect(changed.stale).toEqual(["shaped.inner.deep: source contents changed"]);
        // its listing had spaced/__init__.py, under the same mtime
        expect(names(world.same([next], [world.exe], "shaped", frugal).hit)).toEqual(expect.arrayContaining(["shaped", "shaped.inner", "shaped.inner.deep"]));
        world.write(`${folder}/late.py`, "");
        zero();
        const late = [world.exe, "-c", "import late; print(late.__file__)"];
        expect(world.launched([next], late, frugal).outcome).toEqual(world.spawn(late, frugal));
        expect(world.spawn(late, frugal).status).toBe(0);
      });

      it("PYTHONDONTWRITEBYTECODE writes nothing; PYTHONPYCACHEPREFIX has .pyc files of its own, which stock writes first", () => {
        const folder = pair(() => undefined);
        const archive = built("prefix.pycds", folder);
        const unchecked = world.build("unchecked.pycds", [world.exe, "-c", show], [], there(folder));
        forget(world.path(folder));
        expect(names(world.same([archive], [world.exe], "shaped", there(folder, { PYTHONDONTWRITEBYTECODE: "1" })).hit)).toEqual(all);
        expect(wrote(folder)).toEqual([]);
        const prefixed = (name: string): Record<string, string> => ({ PYTHONPYCACHEPREFIX: world.path(name) });
        const ours = world.launched([unchecked], [world.exe, "-c", show], there(folder, prefixed("cache-ours")));
        const stock = world.spawn([world.exe, "-c", show], there(folder, prefixed("cache-stock")));
        expect(ours.outcome.stdout.replaceAll("cache-ours", "cache-stock")).toBe(stock.stdout);
        expect(names(ours.events.hit)).toEqual([]);
        const mine = (name: string): string[] => written(world.path(name)).map((file) => file.slice(world.path(name).length)).filter((file) => file.includes("/pyc/"));
        expect(mine("cache-ours")).toEqual(mine("cache-stock"));
        expect(mine("cache-ours")).toHaveLength(4);
        world.picture((words) => world.spawn(words, there(folder, prefixed("cache-ours"))), [world.exe], "shaped"); // its own .pyc files
        expect(names(world.same([archive], [world.exe], "shaped", there(folder, prefixed("cache-ours"))).hit)).toEqual(all);
        expect(wrote(folder)).toEqual([]);
      });

      it("an unchecked .pyc is none where PYTHONPYCACHEPREFIX looks", () => {
        const folder = pair((each) => {
          world.must(world.spawn([world.exe, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", world.path(each)]));
          world.write(`${each}/shaped/inner/deep.py`, "def deep():\n    return 'what the source says'\n");
        });
        const archive = built("elsewhere.pycds", folder);
        const events = world.same([archive], [world.exe], "shaped", there(folder, { PYTHONPYCACHEPREFIX: world.path("empty-cache"), PYTHONDONTWRITEBYTECODE: "1" }));
        expect(names(events.hit)).toEqual([]);
        expect(names(world.same([archive], [world.exe], "shaped", there(folder)).hit)).toEqual(all);
      });
    });

    describe("the interpreter's options", () => {
      let exe = "";
      let archive = "";
      beforeAll(() => {
        const venv = world.path("flagvenv");
        world.must(world.spawn([world.exe, "-m", "venv", "--without-pip", venv]));
        shape(`flagvenv/lib/python${version}/site-packages`);
        exe = join(venv, "bin/python");
        archive = world.build("flags.pycds", [exe, "-c", show]);
        world.must(world.cli(["install", "--venv", venv, "-a", archive]));
      });
      const later = Number(version.split(".")[1]) >= 11;
      const cases: readonly (readonly [string, boolean])[] = [
        ["-I", true], ["-E", true], ["-s", true], ["-O", false], ["-OO", false], ["-B", true], ["-u", true], ["-X dev", true], ["-X utf8", true], ["-W error", true],
        ...(later ? ([["-P", true], ["-X frozen_modules=off", true], ["-X no_debug_ranges", false]] as const) : []),
      ];
      it.each(cases)("%s, installed (served: %s)", (flags, served) => {
        const file = world.path(`flags.log${flags}`);
        const argv = [exe, ...flags.split(" ")];
        const seeded = { PYTHONHASHSEED: "0", PYTHONPATH: "" };
        const stock = world.picture((words) => world.spawn(words, { ...seeded, PYCDS: "off" }), argv, "shaped");
        const ours = world.picture((words) => world.spawn(words, { ...seeded, PYCDS_LOG: file }), argv, "shaped");
        expectSame(stock, ours);
        const lines = readFileSync(file, "utf8").split("\n");
        expect(lines.filter((line) => /^pycds: hit (shaped|spaced)/.test(line))).toHaveLength(served ? 4 : 0);
        expect(lines.some((line) => line.startsWith("pycds: refused "))).toBe(!served);
      });

      it("-S: no .pth file is read, so it is stock's; pycds run serves all the same", () => {
        const file = world.path("flags.S");
        const stock = world.spawn([exe, "-S", "-c", "import json, sys; print(json.__file__, sorted(sys.modules))"], { PYCDS: "off" });
        expect(world.spawn([exe, "-S", "-c", "import json, sys; print(json.__file__, sorted(sys.modules))"], { PYCDS_LOG: file })).toEqual(stock);
        expect(existsSync(file)).toBe(false);
        expect(world.same([archive], [exe, "-S"], "json").hit).toContain("json");
      });

      it.each(["-O", "-OO"])("%s has an archive of its own", (flag) => {
        const optimized = world.build(`flags${flag}.pycds`, [exe, flag, "-c", show]);
        expect(names(world.same([optimized], [exe, flag], "shaped").hit)).toEqual(all);
        expect(world.same([optimized], [exe], "shaped").refused).toHaveLength(1);
      });
    });
  });
}
