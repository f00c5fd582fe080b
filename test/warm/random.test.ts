/**
 * No two restored processes draw the same, even under the same process ID, which
 * is what every first process of a container has. The worst that an image could
 * do: the same private key in each start (facts/warm-image.md).
 *
 * PYCDS_TEST_RESTORES sets the number of restores (300 if unset; `npm run test:draws`:
 * 1,000, half a minute), PYCDS_TEST_WARM_PYTHONS names further interpreters, colon-separated,
 * that have numpy or cryptography.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pythonEnvironment } from "../support/pythons.ts";
import { cannotWarm, createImage, warmPythons } from "./support.ts";

const missing = cannotWarm();
const exes = missing === undefined ? [...(process.env["PYCDS_TEST_WARM_PYTHONS"] ?? "").split(":").filter((exe) => exe !== ""), ...warmPythons().map(({ exe }) => exe)] : [];
const rounds = Number(process.env["PYCDS_TEST_RESTORES"] ?? 300);
/** A command that runs its arguments as process 1 of a PID namespace of its own. */
const namespace = [["unshare", "--pid", "--fork"], ["unshare", "--user", "--map-root-user", "--pid", "--fork"]].find(
  ([program = "", ...rest]) => spawnSync(program, [...rest, "sh", "-c", "test $$ = 1"]).status === 0,
);

const standard: Readonly<Record<string, string>> = {
  urandom: "os.urandom(16).hex()",
  secrets: "secrets.token_hex()",
  random: "random.random()",
  "random.randbytes": "random.randbytes(16).hex()",
  uuid1: "uuid.uuid1()",
  uuid4: "uuid.uuid4()",
  "ssl.RAND_bytes": "ssl.RAND_bytes(16).hex()",
  "TLS client random": "hello().hex()",
  tempfile: "os.path.basename(tempfile.mktemp())",
  "tempfile's names": "next(tempfile._get_candidate_names())",
  "multiprocessing authkey": "bytes(multiprocessing.current_process().authkey).hex()",
  "e-mail boundary": "email.generator._make_boundary()",
};
const imports = "os, secrets, random, uuid, ssl, tempfile, multiprocessing, email.generator";
/** The client random of a TLS handshake's first message. */
const hello = "def hello():\n  c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); i, o = ssl.MemoryBIO(), ssl.MemoryBIO()\n  s = c.wrap_bio(i, o, server_hostname='x')\n  try: s.do_handshake()\n  except ssl.SSLWantReadError: pass\n  return o.read()[11:43]\n";

const libraries: readonly { readonly library: string; readonly preload: string; readonly draws: Readonly<Record<string, string>> }[] = [
  { library: "numpy", preload: "numpy,numpy.random", draws: { "numpy.random": "numpy.random.random()", "numpy.random.randint": "numpy.random.randint(1 << 62)", default_rng: "numpy.random.default_rng().random()" } },
  {
    library: "cryptography", preload: "cryptography.hazmat.primitives.asymmetric.x25519,cryptography.hazmat.primitives.asymmetric.ec,cryptography.hazmat.primitives.serialization,cryptography.fernet",
    draws: {
      X25519: "cryptography.hazmat.primitives.asymmetric.x25519.X25519PrivateKey.generate().public_key().public_bytes_raw().hex()",
      "EC key": "cryptography.hazmat.primitives.asymmetric.ec.generate_private_key(cryptography.hazmat.primitives.asymmetric.ec.SECP256R1()).private_numbers().private_value",
      Fernet: "cryptography.fernet.Fernet.generate_key().hex()",
    },
  },
];

/** Repeats, by draw: the values that were drawn more than once. */
function repeats(image: string, code: string, names: readonly string[], env: Record<string, string>): Record<string, number> {
  const [program = "", ...rest] = namespace ?? ["env"];
  const seen = names.map(() => new Set<string>());
  for (let round = 0; round < rounds; round++) {
    const { status, stdout, stderr } = spawnSync(program, [...rest, image, "-c", code], { encoding: "utf8", env: { ...env, PYCDS: "on" } });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const [pid, ...values] = stdout.trim().split("\n");
    if (namespace !== undefined) expect(pid).toBe("1");
    values.forEach((value, index) => seen[index]?.add(value));
  }
  return Object.fromEntries(names.map((name, index) => [name, rounds - (seen[index]?.size ?? 0)]));
}

describe.skipIf(missing !== undefined)(`draws after a restore${missing === undefined ? "" : `: not here, ${missing}`}`, () => {
  let directory: string;
  const env = pythonEnvironment();
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-random-")));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it.skipIf(namespace !== undefined)("PID namespaces cannot be made here: unshare --pid is not allowed", () => undefined);

  const examine = (name: string, exe: string, preload: string, draws: Readonly<Record<string, string>>): void => {
    it(`${name}: ${rounds} restores${namespace === undefined ? "" : ", each as process 1"}, by ${exe}`, { timeout: 600_000 }, () => {
      const image = join(directory, name);
      const modules = [...imports.split(", "), ...preload.split(",").filter((one) => one !== "")].join(", ");
      // every generator has been used before the park: one that is only made behind it proves nothing
      const used = `used_${name.replaceAll(" ", "_")}`;
      mkdirSync(join(directory, "lib"), { recursive: true });
      writeFileSync(join(directory, "lib", `${used}.py`), `import ${modules}\n${hello}${Object.values(draws).join("\n")}\n`);
      const own = { ...env, PYTHONPATH: join(directory, "lib") };
      expect(createImage(image, ["--preload", used, "--", exe], { env: own, cwd: directory })).toMatchObject({ status: 0 });
      const code = `import ${modules}\n${hello}print(os.getpid())\n${Object.values(draws).map((draw) => `print(${draw})`).join("\n")}`;
      expect(repeats(image, code, Object.keys(draws), own)).toEqual(Object.fromEntries(Object.keys(draws).map((draw) => [draw, 0])));
    });
  };
  const [first] = exes;
  if (first !== undefined) examine("standard library", first, "", standard);
  const users = libraries.map((one) => ({ ...one, exe: exes.find((each) => spawnSync(each, ["-c", `import ${one.preload}`], { env }).status === 0) }));
  for (const { library } of users.filter(({ exe }) => exe === undefined)) it.skip(`${library}: no interpreter here has it`, () => undefined);
  for (const { library, preload, draws, exe } of users) if (exe !== undefined) examine(library, exe, preload, draws);

  const withKeys = users.find(({ library }) => library === "cryptography")?.exe;
  const own = namespace === undefined ? undefined : [...namespace.slice(0, -1), "--mount-proc", "--fork"];
  const canBuild = own !== undefined && spawnSync(own[0] ?? "", [...own.slice(1), "true"]).status === 0;
  /*
   * A static OpenSSL compares getpid() with the *forking parent's*: without the process ID that nobody has, the one
   * start among these that has the parent's ID repeats its keys (seen with that taken out, and the restorer's check of it).
   */
  it.skipIf(withKeys === undefined || !canBuild)("no process ID brings the parent's keys back (needs cryptography, and unshare --pid --mount-proc)", { timeout: 300_000 }, () => {
    const image = join(directory, "small-pids");
    mkdirSync(join(directory, "lib"), { recursive: true });
    writeFileSync(join(directory, "lib/used_keys.py"), "from cryptography.hazmat.primitives.asymmetric import x25519\nx25519.X25519PrivateKey.generate()\n");
    const more = { ...env, PYTHONPATH: join(directory, "lib") };
    const [program = "", ...rest] = own ?? [];
    // built where process IDs are small, so that the starts below run over the parent's
    const pycds = join(import.meta.dirname, "../../bin/pycds");
    expect(spawnSync(program, [...rest, process.execPath, pycds, "warm", "create", "-q", "-o", image, "--preload", "used_keys", "--", withKeys ?? ""], { encoding: "utf8", env: more, cwd: directory })).toMatchObject({ status: 0 });
    const code = "from cryptography.hazmat.primitives.asymmetric import x25519; print(x25519.X25519PrivateKey.generate().public_key().public_bytes_raw().hex())";
    const keys = [1, 2].flatMap(() => spawnSync(program, [...rest, "sh", "-c", 'for i in $(seq 80); do "$0" -c "$1" || exit 9; done', image, code], { encoding: "utf8", env: { ...more, PYCDS: "on" } }).stdout.trim().split("\n"));
    expect(keys.length).toBe(160);
    expect(new Set(keys).size).toBe(160);
  });

  it.skipIf(first === undefined)("the test can fail: what an import drew once is the same in every start, and named while building", () => {
    const image = join(directory, "frozen");
    execFileSync("mkdir", ["-p", join(directory, "lib")]);
    execFileSync("sh", ["-c", "echo 'import random\nown = random.Random()' > lib/keeps.py"], { cwd: directory });
    const built = createImage(image, ["--preload", "keeps", "--", first ?? ""], { env: { ...env, PYTHONPATH: join(directory, "lib") }, cwd: directory });
    expect(built.stderr).toContain("random generators made at import begin with the same state in every start: keeps.own");
    const draw = (): string => execFileSync(image, ["-c", "import keeps; print(keeps.own.random())"], { encoding: "utf8", env: { ...env, PYTHONPATH: join(directory, "lib"), PYCDS: "on" } });
    expect(draw()).toBe(draw());
  });
});
