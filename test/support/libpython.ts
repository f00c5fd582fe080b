/** The shared libpython of an interpreter, for programs that link with it. */
import { execFileSync } from "node:child_process";
import { dirname } from "node:path";
import { pythonEnvironment } from "./pythons.ts";

const program = "print(next((line.split()[-1] for line in open('/proc/self/maps') if 'libpython' in line), ''))";

/** The file that the interpreter itself has loaded; undefined for one that has libpython linked in. */
export function libpythonOf(exe: string): string | undefined {
  const file = execFileSync(exe, ["-I", "-c", program], { encoding: "utf8", env: pythonEnvironment() }).trim();
  return file === "" ? undefined : file;
}

/** Arguments for the linker of a program that is to use that file. */
export function linkFlags(library: string): string[] {
  return ["-Wl,--no-as-needed", library, `-Wl,-rpath,${dirname(library)}`];
}
