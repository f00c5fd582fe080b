/**
 * Builds that are not served: an installed runtime and `pycds run` refuse with one
 * line, and the program runs as in stock; a free-threaded Python keeps its GIL
 * off (facts/cpython.md §8: a module without Py_mod_gil would switch it on).
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { install } from "../../src/venv/install.ts";
