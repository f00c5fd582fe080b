/** The data reaches the compiled output, loads there under plain Node, and is checked when it is loaded. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { knownAbis } from "../../src/abi/load.ts";
import { inScratch } from "./support.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

test("compiled by tsc, the ABI room runs under node", { timeout: 120_000 }, () => {
  inScratch((folder) => {
    // A copy of what the room imports, so that this says nothing about other rooms.
    for (const room of ["base", "abi"]) cpSync(join(root, "src", room), join(folder, "src", room), { recursive: true });
    for (const file of ["package.json", "tsconfig.json", "tsconfig.build.json"]) cpSync(join(root, file), join(folder, file));
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
    const compiled = spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.build.json"], { cwd: folder, encoding: "utf8" });
    expect(compiled.stdout).toBe("");
    expect(compiled.status).toBe(0);
    mkdirSync(join(folder, "elsewhere"));
    const load = pathToFileURL(join(folder, "dist/abi/load.js")).href;
    const program = `const { knownAbis, loadAbi } = await import(${JSON.stringify(load)}); console.log(knownAbis().map((id) => loadAbi(id).id).join(" "));`;
    const run = spawnSync(process.execPath, ["--input-type=module", "-e", program], { cwd: join(folder, "elsewhere"), encoding: "utf8" });
    expect(run.stderr).toBe("");
    expect(run.stdout.trim()).toBe(knownAbis().join(" "));

    // Data is checked when it is loaded: a field that the policy does not know stops its id.
    const file = join(folder, "dist/abi/data/cpython-3.11-linux-x86_64-release.json");
    writeFileSync(file, readFileSync(file, "utf8").replace(/"co_warmup"/, '"co_heat"'));
    const other = `const { loadAbi } = await import(${JSON.stringify(load)}); try { loadAbi("cpython-3.13-linux-x86_64-release"); loadAbi("cpython-3.11-linux-x86_64-release") } catch (error) { console.log(error.code, error.why) }`;
    const refused = spawnSync(process.execPath, ["--input-type=module", "-e", other], { cwd: join(folder, "elsewhere"), encoding: "utf8" });
    expect(refused.stdout).toBe(
      "ABI_POLICY cpython-3.11-linux-x86_64-release: PyCodeObject.co_heat has no role\n",
    );
  });
});
