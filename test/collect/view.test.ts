/** What counts as a file, a folder, or neither (FileFinder: _path_isfile, _path_isdir; links followed). */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { listFolder, readBytes, statFacts } from "../../src/archive/collect-view.ts";
import { compareText } from "../../src/archive/path-index.ts";

const root = mkdtempSync(join(tmpdir(), "pycds-view-"));
afterAll(() => {
  rmSync(root, { recursive: true });
});

it("follows links, leaves out FIFOs, and keeps links to nowhere undecided", () => {
  writeFileSync(join(root, "file.py"), "x");
  mkdirSync(join(root, "folder"));
  symlinkSync("file.py", join(root, "to-file.py"));
  symlinkSync("folder", join(root, "to_folder"));
  symlinkSync("nowhere", join(root, "dangling"));
  symlinkSync("nowhere", join(root, "dangling.py"));
  execFileSync("mkfifo", [join(root, "fifo.py")]);
  const names = listFolder(root)?.map(({ name, directory }) => `${name} ${directory ? "folder" : "file"}`);
  expect(names?.toSorted(compareText)).toEqual(["dangling folder", "dangling.py file", "file.py file", "folder folder", "to-file.py file", "to_folder folder"]);
});

it("does not open what is no regular file", () => {
  expect(readBytes(join(root, "fifo.py"))).toBeUndefined();
  expect(readBytes(join(root, "folder"))).toBeUndefined();
  expect(readBytes(join(root, "none"))).toBeUndefined();
  expect(readBytes(join(root, "file.py"))).toEqual(Buffer.from("x"));
  expect(statFacts(join(root, "fifo.py"))?.kind).toBe("other");
  expect(statFacts(join(root, "file.py", "below"))).toBeUndefined();
});
