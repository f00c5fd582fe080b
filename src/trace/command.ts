/**
 * How a program is started with the preloaded starter (native/launch), as a
 * value: argv and environment. The starter takes its own variables and itself
 * out of the environment before Python sees it.
 */

/** An environment as Node has it; what is undefined is not set. */
export type Environment = Readonly<Record<string, string | undefined>>;

export interface LaunchRequest {
  /** The user's command, as given. */
  readonly command: readonly string[];
  readonly env: Environment;
  /** The starter's library. */
  readonly launcher: string;
  /** The runtime library that it loads into Python, and the one for a free-threaded Python; none for a warm image. */
  readonly runtime?: { readonly gil: string; readonly freeThreaded: string };
  /** Builds a warm image: the library that does, and the folder that it works in. */
  readonly warm?: { readonly library: string; readonly work: string };
  /** Archives to serve from, in the order in which they are looked up. */
  readonly archives?: readonly string[];
  /** File that trace lines are appended to. */
  readonly trace?: string;
  /** Whether Pythons that the program starts are served and traced too. */
  readonly children: boolean;
  /** The soft limit of open files that it is to have, since Node has raised its own. */
  readonly files?: string | undefined;
}

export interface LaunchCommand {
  readonly argv: readonly string[];
  readonly env: Environment;
}

/** The environment protocol between this file and native/launch. */
export const launchVariable = {
  runtime: "PYCDS_LAUNCH_RUNTIME",
  freeThreadedRuntime: "PYCDS_LAUNCH_RUNTIME_T",
  archive: "PYCDS_LAUNCH_ARCHIVE",
  trace: "PYCDS_LAUNCH_TRACE",
  /** The caller's own LD_PRELOAD, put back before Python starts. */
  preload: "PYCDS_LAUNCH_PRELOAD",
  children: "PYCDS_LAUNCH_CHILDREN",
  warm: "PYCDS_LAUNCH_WARM",
  work: "PYCDS_LAUNCH_WORK",
  files: "PYCDS_LAUNCH_FILES",
} as const;

/** argv and environment of a traced, an archived, or a traced and archived run. */
export function traceCommand(request: LaunchRequest): LaunchCommand {
  const own = request.env["LD_PRELOAD"];
  const hasOwn = own !== undefined && own !== "";
  return {
    argv: request.command,
    env: {
      ...withoutLaunchVariables(request.env),
      // ours first: it must see __libc_start_main before a library of the user's that wraps it too
      LD_PRELOAD: hasOwn ? `${request.launcher}:${own}` : request.launcher,
      ...(request.runtime === undefined ? {} : { [launchVariable.runtime]: request.runtime.gil, [launchVariable.freeThreadedRuntime]: request.runtime.freeThreaded }),
      ...(request.warm === undefined ? {} : { [launchVariable.warm]: request.warm.library, [launchVariable.work]: request.warm.work }),
      ...(request.archives === undefined || request.archives.length === 0 ? {} : { [launchVariable.archive]: request.archives.join(":") }),
      ...(request.trace === undefined ? {} : { [launchVariable.trace]: request.trace }),
      ...(own === undefined ? {} : { [launchVariable.preload]: own }),
      ...(request.files === undefined ? {} : { [launchVariable.files]: request.files }),
      ...(request.children ? { [launchVariable.children]: "1" } : {}),
    },
  };
}

/** Leftovers of an outer run must not leak into ours. */
function withoutLaunchVariables(env: Environment): Environment {
  const names = new Set<string>(Object.values(launchVariable));
  return Object.fromEntries(Object.entries(env).filter(([name]) => !names.has(name)));
}

/** The environment for interpreters that we start for ourselves: no archive, no tracing, no activation. */
export function withoutOurVariables(env: Environment): Environment {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("PYCDS")));
}
