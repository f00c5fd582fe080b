/** What site.py of each interpreter executes of .pth files: the sources that an archive gets for them are these, to the letter. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { machineView } from "../../src/archive/collect-view.ts";
import { pthSources } from "../../src/archive/collect-pth.ts";
import { describeInterpreter } from "../../src/trace/interpreter.ts";
import { served } from "../support/served.ts";

const site = mkdtempSync(join(tmpdir(), "pycds-pth-"));
afterAll(() => {
  rmSync(site, { recursive: true });
});

const files: Readonly<Record<string, string>> = {
  "a.pth": "# import nothing\n\nimport os; a = 1\nimport\tsys\n/some/folder\nimports = 2\nfrom os import path\n",
  "b.pth": "import b_windows\r\nimport b_last",
  "import_c.py": "import c\n",
};
for (const [name, text] of Object.entries(files)) writeFileSync(join(site, name), text);
const more = "import of_more; more = 3\n";

/** site.addsitedir() with an exec that only notes what it is given. */
const script = `
import json, site, sys
lines = []
site.exec = lambda source, *rest: lines.append(source)
site.addsitedir(sys.argv[1])
print(json.dumps(lines))
`;

for (const { name, python } of served()) {
  describe.skipIf(python === undefined)(name, () => {
    it("lines that are executed, and no others", async () => {
      const exe = python?.exe ?? "";
      const facts = await describeInterpreter(exe, process.env);
      const sources = pthSources({ ...facts, sitePackages: [site] }, machineView, [more]);
      writeFileSync(join(site, "more.pth"), more);
      const executed: unknown = JSON.parse(execFileSync(exe, ["-I", "-c", script, site], { encoding: "utf8" }));
      rmSync(join(site, "more.pth"));
      expect(sources.map(({ source }) => source).toSorted()).toEqual((executed as string[]).toSorted());
      expect(sources.map(({ mode, flags, calls }) => ({ mode, flags, calls }))).toEqual(sources.map(() => ({ mode: "exec", flags: 0, calls: 2 })));
      expect(sources).toHaveLength(5);
    }, 60_000);
  });
}
