/** Deep equality of marshal values that includes which objects are shared. */
import type { PyValue } from "../../src/pyc/value.ts";

/** Fields that 3.9/3.10 streams do not have: empty, and without identity. */
const standIns: ReadonlySet<string> = new Set(["localsplusnames", "localspluskinds", "qualname", "exceptiontable"]);

function isEmpty(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const contents: unknown = "items" in value ? value.items : "data" in value ? value.data : undefined;
  return (Array.isArray(contents) || contents instanceof Uint8Array) && contents.length === 0;
}

/** The first difference as a path, or undefined if `a` and `b` are isomorphic graphs. */
export function difference(a: PyValue, b: PyValue): string | undefined {
  const forth = new Map<object, object>();
  const back = new Map<object, object>();
  const walk = (x: unknown, y: unknown, path: string): string | undefined => {
    if (typeof x !== "object" || typeof y !== "object" || x === null || y === null) return Object.is(x, y) ? undefined : `${path}: ${String(x)} != ${String(y)}`;
    if (x instanceof Uint8Array || y instanceof Uint8Array) {
      return x instanceof Uint8Array && y instanceof Uint8Array && Buffer.compare(x, y) === 0 ? undefined : `${path}: bytes differ`;
    }
    // Only values have identity; `items`, `entries` and `legacy` are parts of one. Constants are singletons.
    if ("kind" in x && !["none", "bool", "ellipsis", "stopiteration"].includes(String(x.kind))) {
      const other = forth.get(x);
      if (other !== undefined || back.has(y)) return other === y && back.get(y) === x ? undefined : `${path}: shared differently`;
      forth.set(x, y);
      back.set(y, x);
    }
    const fields = Object.keys(x);
    if (fields.length !== Object.keys(y).length) return `${path}: ${fields.length} fields != ${Object.keys(y).length}`;
    for (const field of fields) {
      if ("legacy" in x && standIns.has(field)) {
        if (!isEmpty(Reflect.get(x, field)) || !isEmpty(Reflect.get(y, field))) return `${path}.${field}: not empty`;
        continue;
      }
      const found = walk(Reflect.get(x, field), Reflect.get(y, field), `${path}.${field}`);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return walk(a, b, "value");
}
