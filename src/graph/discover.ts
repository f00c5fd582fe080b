/**
 * First walk over a module's values: finds the containers, the order in which
 * frozensets must be made, the tuples that hold names, and every reason to
 * leave the module to stock. Names are not numbered yet, so an excluded module
 * leaves no trace in the archive.
 *
 * An explicit stack: marshal allows 2000 levels, hand-made values any number.
 */
import { strText } from "../pyc/text.ts";
import type { CodeValue, FrozensetValue, PyValue, SliceValue, TupleValue } from "../pyc/value.ts";
import type { ExclusionCode, ExclusionReason, GraphOptions } from "./types.ts";

export type Container = CodeValue | TupleValue | FrozensetValue | SliceValue;

export interface Discovery {
  readonly kind: "discovery";
  /** Every container once, parents before children where first met. */
  readonly containers: readonly Container[];
  /** Children before parents. */
  readonly frozensets: readonly FrozensetValue[];
  /** Tuples whose every str is a name: co_names and the variables' names. */
  readonly nameTuples: ReadonlySet<TupleValue>;
  /** Tuples and frozensets whose str items the code constructor looks at. */
  readonly constants: ReadonlySet<TupleValue | FrozensetValue>;
}

interface Frame {
  readonly value: Container;
  readonly children: readonly PyValue[];
  next: number;
}

export function discover(root: CodeValue, options: GraphOptions): Discovery | ExclusionReason {
  const containers: Container[] = [];
  const frozensets: FrozensetValue[] = [];
  const nameTuples = new Set<TupleValue>();
  const state = new Map<Container, "open" | "done">();
  const stack: Frame[] = [];

  /** Opens a container that was not met before; a reason when it can't be archived. */
  function open(value: PyValue): ExclusionReason | undefined {
    switch (value.kind) {
      case "none": case "bool": case "ellipsis": case "stopiteration":
      case "int": case "float": case "complex": case "str": case "bytes":
        return undefined;
      case "list": case "set": case "dict": case "frozendict":
        return exclude("unsupported-constant", `a ${value.kind} constant`);
      case "slice":
        if (!options.hasSliceConstants) return exclude("unsupported-constant", "a slice constant, which the target does not have");
        break;
      case "code":
        if (options.hasLegacyCode && value.legacy === undefined) return exclude("foreign-code", "a code object of CPython 3.11 or later, which the target is not");
        if (!options.hasLegacyCode && value.legacy !== undefined) return exclude("foreign-code", "a code object of CPython 3.9 or 3.10, which the target is not");
        for (const names of variableNames(value)) nameTuples.add(names);
        nameTuples.add(value.names);
        break;
      case "tuple": case "frozenset":
        break;
    }
    const known = state.get(value);
    if (known === "open") return exclude("cyclic-constant", `a ${value.kind} that contains itself`);
    if (known === "done") return undefined;
    state.set(value, "open");
    containers.push(value);
    stack.push({ value, children: childrenOf(value), next: 0 });
    return undefined;
  }

  function exclude(code: ExclusionCode, what: string): ExclusionReason {
    const owner = stack.findLast((frame) => frame.value.kind === "code")?.value;
    const where = owner?.kind === "code" ? ` in ${strText(owner.legacy === undefined ? owner.qualname : owner.name)}` : "";
    return { kind: "excluded", code, reason: what + where };
  }

  let reason = open(root);
  while (reason === undefined) {
    const frame = stack.at(-1);
    if (frame === undefined) return { kind: "discovery", containers, frozensets, nameTuples, constants: visibleConstants(containers) };
    const child = frame.children[frame.next];
    if (child !== undefined) {
      frame.next += 1;
      reason = open(child);
    } else {
      stack.pop();
      state.set(frame.value, "done");
      if (frame.value.kind === "frozenset") frozensets.push(frame.value);
    }
  }
  return reason;
}

function childrenOf(value: Container): readonly PyValue[] {
  switch (value.kind) {
    case "code":
      return [value.names, value.consts, ...variableNames(value)];
    case "tuple": case "frozenset":
      return value.items;
    case "slice":
      return [value.start, value.stop, value.step];
  }
}

/** co_localsplusnames, or to 3.10 co_varnames, co_freevars and co_cellvars. */
function variableNames({ legacy, localsplusnames }: CodeValue): readonly TupleValue[] {
  return legacy === undefined ? [localsplusnames] : [legacy.varnames, legacy.freevars, legacy.cellvars];
}

/**
 * What the code constructor reaches from co_consts: it goes through tuples and
 * frozensets, but not into slices (Objects/codeobject.c: intern_constants,
 * before 3.13 intern_string_constants).
 */
function visibleConstants(containers: readonly Container[]): ReadonlySet<TupleValue | FrozensetValue> {
  const seen = new Set<TupleValue | FrozensetValue>();
  const pending: PyValue[] = containers.flatMap((value) => (value.kind === "code" ? [value.consts] : []));
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    if ((value.kind !== "tuple" && value.kind !== "frozenset") || seen.has(value)) continue;
    seen.add(value);
    for (const item of value.items) pending.push(item);
  }
  return seen;
}
