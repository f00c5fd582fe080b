/**
 * A restored program in a terminal: what the terminal shows, job control and hang-ups
 * are stock's. fixtures/warm/terminal.py is the user at the other end.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { plainEnvironment } from "../launch/support.ts";
import { cannotWarm, createImage, warmPythons } from "./support.ts";

const missing = cannotWarm();
const all = missing === undefined ? warmPythons() : [];
const found = process.env["PYCDS_TEST_ALL_PYTHONS"] === "1" ? all : all.slice(1, 2);
const driver = fileURLToPath(new URL("../../fixtures/warm/terminal.py", import.meta.url));

it.skipIf(found.length > 0)(`terminals: not here, ${missing ?? "no CPython 3.11 to 3.14"}`, () => undefined);

describe.each(found)("in a terminal, $exe", ({ exe }) => {
  let directory: string;
  const env = { ...plainEnvironment(""), TERM: "xterm", PYTHONDONTWRITEBYTECODE: "1" };
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-terminal-")));
    for (const [name, modules] of [["plain", ""], ["preloaded", "getpass,shutil,subprocess,curses"], ["readline", "readline"]] as const) {
      expect(createImage(join(directory, name), [...(modules === "" ? [] : ["--preload", modules]), "--", exe], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
    }
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const drive = (scenario: string, program: string, more: Record<string, string> = {}): string => {
    // of its own session, since a scenario may hang its terminal up
    return execFileSync(exe, ["-I", driver, scenario, program], { encoding: "utf8", cwd: directory, env: { ...env, ...more }, stdio: ["ignore", "pipe", "inherit"], timeout: 50_000 });
  };

  // what each must show, so that two failures do not pass for the same
  it.each([
    ["facts", /size\(columns=97, lines=31\) 'somebody'[^]*'hidden'[^]*not flushed status 0$/],
    ["line_editing", /'world' 1[^]*status 0$/],
    ["full_screen", /a key[^]*113 True[^]*status 0$/],
    ["interrupt", /caught KeyboardInterrupt\(\)[^]*second[^]*ended by SIGINT$/],
    ["quit_key", /ended by SIGQUIT$/],
    ["end_of_file", /got one[^]*end of file[^]*status 0$/],
    ["window", /20 rows[^]*40 rows[^]*status 0$/],
    ["suspend", /(?:stopped by SIGTSTP[^]*continued True[^]*){2}interrupted[^]*job status 0/],
    ["background", /stopped by SIGTTIN[^]*reads[^]*'line\\n'[^]*job status 0/],
    ["jobs_of_its_own", /child: 3[^]*parent: True[^]*True True[^]*status 0$/],
    ["new_session", /no terminal: [^]* True[^]*has one: True/],
    ["hang_up", /^hung up status 4$/],
    ["hang_up_ignored", /^1 1 status 0$/],
  ] as const)("%s", (scenario, shows) => {
    const stock = drive(scenario, exe);
    expect(stock.trim()).toMatch(shows);
    // with readline in the process, input() is readline's, as in a stock process that has imported it
    for (const image of scenario === "line_editing" ? ["plain", "readline"] : ["plain", "preloaded"]) {
      const log = join(directory, `log-${scenario}-${image}`);
      expect(drive(scenario, join(directory, image), { PYCDS_LOG: log })).toBe(stock);
      expect(readFileSync(log, "utf8")).toBe(`pycds: restored ${join(directory, image)}\n`);
    }
  });
});
