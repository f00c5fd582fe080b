/** What an archive says of its target's layout. */
import type { Abi } from "../abi/types.ts";
import type { RecordOf } from "../image/codec.ts";
import { none } from "../image/schema.ts";
import type { ObjectShape } from "../image/shapes.ts";

/** To 3.10 code objects have other fields, and their slots are listed one by one. */
export function shapeOf(abi: Abi): ObjectShape {
  const code = (field: string): number => (abi.hasLegacyCode || !abi.hasField("PyCodeObject", field) ? none : abi.field("PyCodeObject", field).offset);
  return {
    type_offset: abi.field("PyObject", "ob_type").offset,
    tuple_size: abi.field("PyTupleObject", "ob_size").offset,
    tuple_items: abi.field("PyTupleObject", "ob_item").offset,
    code_consts: code("co_consts"),
    code_names: code("co_names"),
    code_exceptiontable: code("co_exceptiontable"),
    code_localsplusnames: code("co_localsplusnames"),
    code_localspluskinds: code("co_localspluskinds"),
    code_filename: code("co_filename"),
    code_name: code("co_name"),
    code_qualname: code("co_qualname"),
    code_linetable: code("co_linetable"),
    code_version: abi.hasCodeVersion ? code("co_version") : none,
  };
}

/** The Abi struct of an archive. */
export function abiRecord(abi: Abi): RecordOf<"Abi"> {
  const code = abi.selfChecks.find(({ what, name }) => what === "basicsize" && name === "PyCode_Type");
  if (code === undefined) throw new Error(`${abi.id} has no self-check of PyCode_Type.__basicsize__`);
  // Elsewhere nobody has run it.
  const classes = abi.platform === "linux-x86_64" ? abi.classes : undefined;
  return {
    code_basicsize: code.offset,
    small_int_min: abi.smallInts.min,
    small_int_max: abi.smallInts.max,
    gc_header_size: abi.gcHeaderSize,
    cfunction_def: abi.cfunctionDef,
    gc_generations: abi.collector?.generations ?? none,
    gc_packed_generations: abi.collector?.packedGenerations ?? none,
    gc_generation_size: abi.collector?.generationSize ?? none,
    gc_threshold: abi.collector?.threshold ?? none,
    gc_count: abi.collector?.count ?? none,
    gc_generation0: abi.collector?.generation0 ?? none,
    gc_enabled: abi.collector?.enabled ?? none,
    gc_debug: abi.collector?.debug ?? none,
    gc_collecting: abi.collector?.collecting ?? none,
    gc_callbacks: abi.collector?.callbacks ?? none,
    gc_long_lived_total: abi.collector?.longLivedTotal ?? none,
    gc_long_lived_pending: abi.collector?.longLivedPending ?? none,
    gc_initial_threshold: abi.collector?.initialThreshold ?? none,
    class_wrapper_base: classes?.wrapperBase ?? none,
    class_slotdef_size: classes?.slotdefSize ?? none,
    class_slotdef_offset: classes?.slotdefOffset ?? none,
    class_slotdef_function: classes?.slotdefFunction ?? none,
    class_slotdef_object: classes?.slotdefObject ?? none,
    class_dealloc: classes?.dealloc ?? none,
    class_flags: classes?.flags ?? none,
    class_base: classes?.base ?? none,
    class_dict: classes?.dict ?? none,
    class_alloc: classes?.alloc ?? none,
    class_new: classes?.new ?? none,
    class_mro: classes?.mro ?? none,
    class_vectorcall: classes?.vectorcall ?? none,
    class_slots_end: classes?.slotsEnd ?? none,
    class_module: classes?.module ?? none,
    class_type_name: classes?.typeName ?? none,
    class_size: classes?.size ?? none,
    ...shapeOf(abi),
  };
}
