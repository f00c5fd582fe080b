/**
 * Numbers of external references: types, singletons and other objects of the
 * interpreter that an image points at. The runtime resolves each by API at
 * load, never by address arithmetic (facts/cpython.md §9: no single base).
 */
export const externalTypes = [
  "PyCode_Type", "PyUnicode_Type", "PyBytes_Type", "PyTuple_Type", "PyLong_Type", "PyFloat_Type",
  "PyComplex_Type", "PyFrozenSet_Type", "PySlice_Type",
] as const;
export type ExternalType = (typeof externalTypes)[number];

/** Fixed numbers; part of the file format. */
export const external = {
  /** 0 … 8: {@link externalTypes} by index. */
  type: (name: ExternalType): number => externalTypes.indexOf(name),
  none: 16,
  true: 17,
  false: 18,
  ellipsis: 19,
  emptyStr: 20,
  emptyBytes: 21,
  emptyTuple: 22,
  stopIteration: 23,
  /** One-character Latin-1 strings. */
  latin1: (codePoint: number): number => 256 + codePoint,
  /** One-byte bytes. */
  byte: (value: number): number => 512 + value,
  /** Small ints -5 … 1024 (the ABI's range decides which are used). */
  smallInt: (value: number): number => 1029 + value,
  /** One more than the largest number. */
  count: 2054,
} as const;
