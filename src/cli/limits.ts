/** Limits that Node changes in itself, and with that in the programs that it starts. */
import { readFileSync } from "node:fs";

/** RLIMIT_NOFILE's soft limit as our starter has it; undefined where that cannot be read (another user's process, no /proc) or there is none. */
export function starterFileLimit(): string | undefined {
  try {
    return /^Max open files +(\d+)/m.exec(readFileSync(`/proc/${process.ppid}/limits`, "utf8"))?.[1];
  } catch {
    return undefined;
  }
}
