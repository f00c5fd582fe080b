/** The sizes that native/launch/cpython.h relies on, measured again with each interpreter's headers. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { headersOf } from "../../tools/pythons/find.ts";
import { compile, compiler, interpreters, launchSources } from "./support.ts";

const program = `
#include <Python.h>
#include <stddef.h>
#include <stdio.h>
#include "cpython.h"
int main(void) {
    printf("{\\"size\\": %zu, \\"least\\": %d, \\"most\\": %d, \\"buffer\\": %d, \\"minor\\": %d, \\"first\\": %d, \\"last\\": %d,"
           "\\"status\\": [[%zu, %zu], [%zu, %zu], [%zu, %zu], [%zu, %zu], [%zu, %zu]], \\"types\\": [%d, %d, %d]}\\n",
           sizeof(PyConfig), LAUNCH_CONFIG_LEAST, LAUNCH_CONFIG_MOST, LAUNCH_CONFIG_BUFFER, PY_MINOR_VERSION, LAUNCH_MINOR_FIRST,
           LAUNCH_MINOR_LAST, sizeof(PyStatus), sizeof(CPyStatus), offsetof(PyStatus, _type), offsetof(CPyStatus, type),
           offsetof(PyStatus, func), offsetof(CPyStatus, func), offsetof(PyStatus, err_msg), offsetof(CPyStatus, err_msg),
           offsetof(PyStatus, exitcode), offsetof(CPyStatus, exitcode), _PyStatus_TYPE_OK, _PyStatus_TYPE_ERROR, _PyStatus_TYPE_EXIT);
    return 0;
}
`;

interface Measured {
  readonly size: number;
  readonly least: number;
  readonly most: number;
  readonly buffer: number;
  readonly minor: number;
  readonly first: number;
  readonly last: number;
  /** Size and offsets of PyStatus: the header's and ours. */
  readonly status: readonly (readonly [number, number])[];
  readonly types: readonly number[];
}

const { found, absent } = interpreters();
const directory = mkdtempSync(join(tmpdir(), "pycds-abi-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe.skipIf(compiler === undefined)("PyConfig and PyStatus (needs a C compiler and the headers)", { timeout: 60_000 }, () => {
  for (const version of absent) it.skip(`CPython ${version} is not installed`, () => undefined);

  for (const python of found) {
    const { exe } = python;
    const include = headersOf(python);
    it.skipIf(include === undefined)(exe, () => {
      const source = join(directory, "sizes.c");
      const binary = join(directory, "sizes");
      writeFileSync(source, program);
      compile(binary, [source], ["-isystem", include ?? "", `-I${launchSources}`]);
      const measured = JSON.parse(execFileSync(binary, { encoding: "utf8" })) as Measured;
      expect(measured.minor).toBeGreaterThanOrEqual(measured.first);
      expect(measured.minor).toBeLessThanOrEqual(measured.last);
      expect(measured.size).toBeGreaterThanOrEqual(measured.least);
      expect(measured.size).toBeLessThanOrEqual(measured.most);
      // room for an interpreter that is off the mark to be measured before anything is overwritten
      expect(measured.buffer).toBeGreaterThanOrEqual(4 * measured.most);
      for (const [theirs, ours] of measured.status) expect(ours).toBe(theirs);
      expect(measured.types).toEqual([0, 1, 2]); // cpython.c, STATUS_OK, STATUS_ERROR, STATUS_EXIT
    });
  }
});
