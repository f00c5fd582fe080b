/**
 * Real commands, stock against their warm images: the whole process, from just before
 * posix_spawn to the end of wait4. What they write must be the same.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { median } from "../src/bench/stats.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const pairs = join(root, "build/native/pycds_pairs");

export interface CommandResult {
  readonly name: string;
  readonly stockMs: number;
  /** Medians of the ratios within a round: how many times faster than stock. */
  readonly fast: number;
  readonly quick: number;
  readonly stockFaults: number;
  readonly quickFaults: number;
}

interface CommandCase {
  readonly name: string;
  /** What is run to its mark and parked. */
  readonly words: readonly string[];
  /** The arguments of a start. */
  readonly args: readonly string[];
}

const programs: Readonly<Record<string, string>> = {
  // as `aws --version` does: a command of boto3's that only tells its version
  "aws_like.py": `import argparse
import boto3
import botocore
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--version", action="version", version=f"aws-like boto3/{boto3.__version__} botocore/{botocore.__version__}")
    parser.parse_args()
main()
`,
  // the first answer of an application, without a server's socket in between
  "answer.py": `import asyncio
from fastapi import FastAPI
from pydantic import BaseModel
class Item(BaseModel):
    name: str
    price: float = 1.5
app = FastAPI()
@app.get("/items/{name}")
def item(name: str) -> Item:
    return Item(name=name)
async def first_answer():
    sent = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    await app({"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/items/a",
               "raw_path": b"/items/a", "query_string": b"", "headers": [], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "root_path": ""}, receive, send)
    print(sent[0]["status"], sent[1]["body"].decode())
asyncio.run(first_answer())
`,
  "test_one.py": "def test_one():\n    assert 1 + 1 == 2\n",
};

function casesOf(python: string): CommandCase[] {
  const bin = dirname(python);
  return [
    { name: "pip --version", words: [join(bin, "pip")], args: ["--version"] },
    { name: "django-admin help", words: [join(bin, "django-admin")], args: ["help"] },
    { name: "pytest, one test", words: [join(bin, "pytest")], args: ["-q", "-p", "no:cacheprovider", "test_one.py"] },
    { name: "pygmentize a file", words: [join(bin, "pygmentize")], args: ["-f", "html", "answer.py"] },
    { name: "aws-like --version (boto3)", words: [python, "aws_like.py"], args: ["--version"] },
    { name: "FastAPI's first answer", words: [python, "answer.py"], args: [] },
  ];
}

/** @throws Error when a command fails, or its image writes something else */
export function measureCommands(python: string, scratch: string, env: Readonly<Record<string, string>>, rounds: number): CommandResult[] {
  const folder = join(scratch, "commands");
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(programs)) writeFileSync(join(folder, name), text);
  const output = (stream: string): string => join(scratch, `commands.${stream}`);
  const once = (argv: readonly string[], strict: boolean): { ms: number; faults: number; text: string } => {
    const { stdout, stderr } = spawnSync(pairs, ["-o", output("out"), "-e", output("err"), "--", ...argv], { cwd: folder, encoding: "utf8", env: strict ? { ...env, PYCDS: "on" } : env });
    const text = readFileSync(output("out"), "utf8") + readFileSync(output("err"), "utf8");
    const line = stdout === "" ? undefined : (JSON.parse(stdout) as { wall_ns: number; minor_faults: number; status: number | null });
    if (line?.status !== 0) throw new Error(`${argv.join(" ")} failed: ${stderr}${text}`);
    return { ms: line.wall_ns / 1e6, faults: line.minor_faults, text: text.replaceAll(/\d+\.\d+s/g, "…s") };
  };
  return casesOf(python).map(({ name, words, args }) => {
    const image = (mode: string): string => {
      const file = join(scratch, `command-${mode}`);
      const made = spawnSync(process.execPath, [join(root, "bin/pycds"), "warm", "create", "--quiet", "-o", file, "--exit", mode, "--", ...words], { cwd: folder, encoding: "utf8", env });
      if (made.status !== 0) throw new Error(made.stderr);
      return file;
    };
    const arms = [words, [image("fast")], [image("quick")]] as const;
    const samples = arms.map((): { ms: number; faults: number }[] => []);
    for (let round = -1; round < rounds; round++) {
      const texts = new Map<number, string>();
      for (let index = 0; index < arms.length; index++) {
        const arm = (index + round + arms.length) % arms.length;
        const one = once([...(arms[arm] ?? []), ...args], arm !== 0);
        texts.set(arm, one.text);
        if (round >= 0) samples[arm]?.push(one);
      }
      if (new Set(texts.values()).size !== 1) throw new Error(`${name}: an image writes something else than stock:\n${[...texts.values()].join("\n---\n")}`);
    }
    const [stock = [], fast = [], quick = []] = samples;
    const ratio = (arm: readonly { ms: number }[]): number => median(stock.map((one, round) => one.ms / (arm[round]?.ms ?? Number.NaN)));
    const faults = (arm: readonly { faults: number }[]): number => median(arm.map((one) => one.faults));
    return { name, stockMs: median(stock.map(({ ms }) => ms)), fast: ratio(fast), quick: ratio(quick), stockFaults: faults(stock), quickFaults: faults(quick) };
  });
}
