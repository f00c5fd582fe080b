#!/usr/bin/env node
/*
 * A stand-in for bin/pycds with which the bench's wiring is tested: it installs
 * a .pth that writes PYCDS_LOG's summary, and speeds nothing up. It appends its
 * arguments to FAKE_LOG.
 */
import { spawnSync } from "node:child_process";
import { appendFileSync, copyFileSync, existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [command, ...args] = process.argv.slice(2);
appendFileSync(process.env.FAKE_LOG, `${JSON.stringify([command, ...args])}\n`);
const option = (name) => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined);
const site = () => {
  const lib = join(option("--venv"), "lib");
  const version = readdirSync(lib).find((name) => name.startsWith("python"));
  return join(lib, version, "site-packages");
};
const code = `import os, sys
def _go():
    log = os.environ.get("PYCDS_LOG")
    archive = os.environ.get("PYCDSARCHIVE") or os.path.join(os.path.dirname(__file__), "pycds_fake.data")
    if log and os.path.exists(archive):
        with open(log, "a") as f:
            f.write("pycds: hit json\\npycds: summary hit=%s miss=2 stale=0 archive=%s\\n" % (os.environ.get("FAKE_HITS", "3"), archive))
_go()
`;

switch (command) {
  case "trace":
    writeFileSync(option("-o"), "");
    process.exitCode = spawnSync(args[args.indexOf("--") + 1], args.slice(args.indexOf("--") + 2), { stdio: "inherit" }).status;
    break;
  case "build":
    if (!existsSync(option("--trace"))) process.exit(2);
    writeFileSync(option("-o"), "archive");
    break;
  case "install":
    writeFileSync(join(site(), "pycds_fake.py"), code);
    writeFileSync(join(site(), "pycds_fake.pth"), "import pycds_fake\n");
    if (option("-a") !== undefined) copyFileSync(option("-a"), join(site(), "pycds_fake.data"));
    break;
  case "uninstall":
    for (const name of readdirSync(site())) if (name.includes("pycds")) rmSync(join(site(), name), { recursive: true });
    break;
  default:
    process.exitCode = 2;
}
