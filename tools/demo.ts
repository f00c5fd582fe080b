/**
 * `npm run demo`: the main job on real input. Makes a venv with pinned boto3,
 * requests and Django, compiles their .pyc files, and for each of three imports
 * traces it, builds an archive, installs it, and runs stock and archived in
 * interleaved pairs. Uses bin/pycds as a user would.
 *
 *   npm run demo [-- --python EXE] [--rounds N] [--dir FOLDER]
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { PycdsError } from "../src/base/errors.ts";
import { basketVenvs, checkout, findPython, measure, renderText } from "../src/bench/index.ts";

const imports = ["boto3", "requests", "django.db.models"];

async function main(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...argv], options: { python: { type: "string" }, rounds: { type: "string", default: "11" }, dir: { type: "string" } } });
  checkBuilt();
  const python = await findPython(values.python ?? process.env["PYCDS_PYTHON"], process.env);
  say(`CPython ${python.version} (${python.base})`);
  const requirements = await readFile(join(checkout, "bench", "demo-requirements.txt"), "utf8");
  const options = {
    pycds: [process.execPath, join(checkout, "bin", "pycds")],
    env: process.env,
    rounds: Number(values.rounds),
    ...(values.dir === undefined ? {} : { folder: values.dir }),
    progress: (text: string) => {
      if (!text.includes(": round ") && !text.includes(": warming ")) say(text);
    },
  };
  const venvs = await basketVenvs(python, requirements, options);
  const home = join(venvs.stock, "..");
  say(`venvs with pinned boto3, requests and Django, .pyc files warm: ${home}`);
  const programs = imports.map((name) => {
    const args = ["-c", `import ${name}`];
    return { name: `import ${name}`, counted: true, args, tracedFrom: [args] };
  });
  const shorten = (word: string): string => (word.startsWith(home) ? `$V${word.slice(home.length)}` : word.includes(" ") ? `"${word}"` : word);
  const tools = { ...options, announce: (args: readonly string[]) => say(`$ pycds ${args.map(shorten).join(" ")}`) };
  const run = await measure(python, programs, venvs, tools, join(home, "work"), options);
  process.stdout.write(`\n${renderText(run)}`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** `npm ci` builds both; a machine without a compiler has only the first. */
function checkBuilt(): void {
  if (!existsSync(join(checkout, "dist", "cli"))) {
    throw new PycdsError("DEMO_NOT_BUILT", "cannot run the demo", "the toolchain is not built", { next: "npm ci" });
  }
  if (!existsSync(join(checkout, "build", "native", "_pycds.so"))) {
    throw new PycdsError("DEMO_NO_RUNTIME", "cannot run the demo", "the C runtime is not built", { next: "apt-get install gcc libc6-dev, then npm run build" });
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (error instanceof TypeError && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS")) {
    process.stderr.write(`pycds: error: cannot read the command line — ${error.message.split(".")[0] ?? ""} — use: npm run demo -- --python EXE --rounds N --dir DIR
`);
    process.exit(2);
  }
  if (!(error instanceof PycdsError)) throw error;
  process.stderr.write(`pycds: error: ${error.line}\n`);
  process.exitCode = error.exit;
}
