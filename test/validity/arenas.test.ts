/**
 * Memory for what imports make comes in huge pages (native/runtime/arenas.c): what the kernel was asked for, what is
 * given back, and that a program's own objects lie where they ever did.
 */
import { existsSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { served } from "../support/served.ts";
import { World } from "./world.ts";

/** huge(): MiB of this process for which huge pages were asked. make(n): n MiB of small objects, about. */
const helper = `
def huge():
    total = size = 0
    for line in open("/proc/self/smaps"):
        if line.startswith("Size:"): size = int(line.split()[1])
        if line.startswith("VmFlags:") and "hg" in line.split(): total += size
    return total / 1024
def make(n): return [[i] for i in range(9000 * n)]
`;
const modules: Readonly<Record<string, string>> = {
  "lib/helper.py": helper,
  "lib/big.py": "import helper\nthings = helper.make(12)\n",
  "lib/passing.py": "import helper\nthings = helper.make(40)\nmost = helper.huge()\ndel things\nleft = helper.huge()\nagain = helper.make(20)\nreused = helper.huge()\n",
};
/** Free blocks of 2 MiB, in units of that (pages of 4 KiB); where few are free none is asked for (native/runtime/pages.c). */
function freeHugePages(): number {
  const lines = existsSync("/proc/buddyinfo") ? readFileSync("/proc/buddyinfo", "utf8").trim().split("\n") : [];
  return lines.flatMap((line) => line.trim().split(/\s+/).slice(4 + 9).map((blocks, order) => Number(blocks) * 2 ** order)).reduce((sum, count) => sum + count, 0);
}
const kernel = existsSync("/sys/kernel/mm/transparent_hugepage") && freeHugePages() > 100;

// free-threaded builds have no arenas
for (const { name: title, python } of served().filter((each) => each.python?.flavour !== "freethreaded")) {
  describe.skipIf(python === undefined)(title, () => {
    let world: World;
    beforeAll(() => {
      world = new World(python?.exe ?? "");
      for (const [file, text] of Object.entries(modules)) world.write(file, text);
      world.write("all.py", "import helper, big, passing\n");
      world.archive(["all.py"]);
    }, 120_000);
    afterAll(() => world.remove());

    const run = (program: string, env: Readonly<Record<string, string>> = {}): string => {
      world.write("main.py", `import helper\n${program}\n`);
      const { outcome } = world.direct(["main.py"], { PYCDS: "on", ...env });
      expect(outcome.stderr).toBe("");
      return outcome.stdout.trim();
    };

    it.skipIf(!kernel)("what an import makes, and only that", () => {
      const program = "kept = helper.make(12); before = helper.huge()\nimport big\nprint(before == 0, helper.huge() >= 8)";
      expect(run(program)).toBe("True True");
      expect(run(program, { PYCDS_ARENAS: "stock" })).toBe("True False");
      expect(run(program, { PYCDS_PAGES: "small" })).toBe("True False");
    }, 60_000);

    it.skipIf(!kernel)("what is freed is given back, its place used again", () => {
      expect(run("import passing as p\nprint(p.most >= 24, p.left < p.most / 2, p.reused < p.most)")).toBe("True True True");
      expect(run("import passing as p\nbefore = helper.huge(); n = len(p.again); del p.again; print(helper.huge() < before, n)")).toBe("True 180000");
    }, 60_000);

    it("a forked child, and threads that make objects while others import", () => {
      const program = [
        "import os, threading, big, warnings; warnings.simplefilter('ignore')",
        "made = []",
        "threads = [threading.Thread(target=lambda: made.append(helper.make(4))) for _ in range(4)] + [threading.Thread(target=__import__, args=('passing',))]",
        "[t.start() for t in threads]; [t.join() for t in threads]",
        "ok = all(thing == [at % 36000] for things in made for at, thing in enumerate(things)) and all(t == [i] for i, t in enumerate(big.things))",
        "pid = os.fork()",
        "if pid == 0:",
        "    big.things[:] = [[i] for i in range(5)]; del made[:]",
        "    os._exit(0 if big.things[4] == [4] and len(helper.make(9)) == 81000 else 1)",
        "print(ok, os.waitpid(pid, 0)[1], big.things[-1])",
      ].join("\n");
      expect(run(program)).toBe("True 0 [107999]");
    }, 60_000);
  });
}
