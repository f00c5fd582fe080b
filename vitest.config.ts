import { defineConfig } from "vitest/config";

/** Tests start interpreters, compilers and each other's processes: two files at a time, and time enough for a machine under load. */
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 240_000,
    reporters: ["default", "./test/support/slowest.ts", "./test/support/matrix.ts"],
  },
});
