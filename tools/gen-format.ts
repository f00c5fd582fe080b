/**
 * Writes native/include/pycds_format.h and docs/image-format.md from
 * src/image/schema.ts and src/abi/externals.ts, and pycds_warm_format.h and
 * docs/warm-format.md from src/warm/schema.ts.
 *
 *   npx tsx tools/gen-format.ts           write them
 *   npx tsx tools/gen-format.ts --check   exit 1 when a checked-in file differs
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { external, externalTypes } from "../src/abi/externals.ts";
import {
  abiFlag, byteOrderMark, codeMask, dataAlignment, eagerSections, entryKind, features, fieldSize, formatVersion, layoutOf, magic, nameLatin1, none, objectAlignment, pureKind, rebuiltKind,
  sectionDocs, sectionKind, segmentAlignment, selfCheckSubject, selfCheckWhat, stampKind, structs, suffixLoader, unitAlignment, wideIndex,
} from "../src/image/schema.ts";
import type { Field, SectionName, Struct } from "../src/image/schema.ts";
import { pageSize, segmentKind, signalCount, slotMark, warmFlag, warmFormatVersion, warmMagic, warmStructs, watchedPrefixes, watchedVariables } from "../src/warm/schema.ts";

const here = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));
const schemaFile = "src/image/schema.ts";
const externalsFile = "src/abi/externals.ts";

interface Constant {
  readonly name: string;
  readonly value: number | bigint;
  readonly doc: string;
}

const upper = (camel: string): string => camel.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toUpperCase();

/**
 * The doc comments above the keys of `export const NAME = {…}`: the source is
 * their only home, so they are read from it rather than repeated here.
 */
function commentsOf(file: string, constant: string): ReadonlyMap<string, string> {
  const source = readFileSync(here(file), "utf8");
  const start = source.indexOf(`export const ${constant} = {`);
  if (start < 0) throw new Error(`${file} has no constant ${constant}`);
  const body = source.slice(start, source.indexOf("} as const", start));
  const docs = new Map<string, string>();
  for (const match of body.matchAll(/\/\*\*\s*([^]*?)\s*\*\/\s*(\w+):/g)) {
    const [, doc = "", key = ""] = match;
    docs.set(key, doc.replace(/\{@link (\w+)\}/g, "$1").replace(/\s+/g, " "));
  }
  return docs;
}

function constantsOf(prefix: string, values: Readonly<Record<string, number | bigint>>, docs: ReadonlyMap<string, string>): Constant[] {
  return Object.entries(values).map(([key, value]) => ({ name: prefix + upper(key), value, doc: docs.get(key) ?? "" }));
}

const typeConstant = (type: string): string => `PYCDS_EXT_TYPE_${type.slice(2, -"_Type".length).toUpperCase()}`;

function externalConstants(): Constant[] {
  const docs = commentsOf(externalsFile, "external");
  const found: Constant[] = externalTypes.map((type) => ({ name: typeConstant(type), value: external.type(type), doc: `&${type}` }));
  for (const [key, value] of Object.entries(external)) {
    if (key === "type") continue;
    const number = typeof value === "number" ? value : key === "latin1" ? external.latin1(0) : key === "byte" ? external.byte(0) : external.smallInt(0);
    const base = typeof value === "number" ? "" : " Base: add the code point, byte or int.";
    found.push({ name: `PYCDS_EXT_${upper(key)}`, value: number, doc: `${docs.get(key) ?? ""}${base}`.trim() });
  }
  return found;
}

const sections = Object.entries(sectionKind) as [SectionName, number][];
const lastSection = Math.max(...Object.values(sectionKind));

interface Group {
  readonly title: string;
  readonly constants: readonly Constant[];
}

const groups: readonly Group[] = [
  {
    title: "Section.kind",
    constants: [
      ...sections.map(([name, value]) => ({ name: `PYCDS_SECTION_${upper(name)}`, value, doc: sectionDocs[name] })),
      { name: "PYCDS_SECTION_MAX", value: lastSection, doc: "the largest section kind" },
    ],
  },
  {
    title: "FileHeader.abi_flags",
    constants: [
      { name: "PYCDS_ABI_FREETHREADED", value: abiFlag.freeThreaded, doc: "free-threaded build (Py_GIL_DISABLED)" },
      { name: "PYCDS_ABI_DEBUG", value: abiFlag.debug, doc: "debug build (Py_DEBUG)" },
    ],
  },
  { title: "Entry.kind: what FileFinder makes of a name in a folder", constants: constantsOf("PYCDS_ENTRY_", entryKind, commentsOf(schemaFile, "entryKind")) },
  { title: "Entry.stamp_kind: how a served module's file is checked", constants: constantsOf("PYCDS_STAMP_", stampKind, commentsOf(schemaFile, "stampKind")) },
  { title: "Pure.kind: which function, and of what", constants: constantsOf("PYCDS_PURE_", pureKind, commentsOf(schemaFile, "pureKind")) },
  { title: "Suffix.loader", constants: constantsOf("PYCDS_SUFFIX_", suffixLoader, new Map()) },
  { title: "SelfCheck.subject", constants: constantsOf("PYCDS_CHECK_", selfCheckSubject, new Map([["code", "a live code object"], ["type", "a type of the interpreter, by name"]])) },
  {
    title: "SelfCheck.what",
    constants: constantsOf("PYCDS_CHECK_", selfCheckWhat, new Map([
      ["i32", "the word at offset equals the attribute"], ["pointer", "the pointer at offset is the attribute's address"], ["basicsize", "__basicsize__ equals offset"],
    ])),
  },
  { title: "Rebuilt.kind", constants: constantsOf("PYCDS_REBUILT_", rebuiltKind, new Map()) },
  { title: "A code object's byte in a relocation stream", constants: constantsOf("PYCDS_CODE_", codeMask, commentsOf(schemaFile, "codeMask")) },
  { title: "External references (RelocationGroup.external)", constants: externalConstants() },
];

const featureConstants = constantsOf("PYCDS_FEATURE_", features, commentsOf(schemaFile, "features"));
const allStructs: readonly Struct[] = Object.values(structs);
const snake = (camel: string): string => upper(camel).toLowerCase();

// ---- the C header ------------------------------------------------------------

const comment = (text: string): string => (text === "" ? "" : ` /* ${text.replace(/\*\//g, "* /")} */`);

function cDeclaration(field: Field): string {
  if (typeof field.type !== "string") return `uint8_t ${field.name}[${field.type.bytes}];`;
  const unsigned = field.type.startsWith("u");
  return `${unsigned ? "u" : ""}int${field.type.slice(1)}_t ${field.name};`;
}

function cStruct(struct: Struct): string {
  const { offsets, size } = layoutOf(struct);
  const type = `Pycds${struct.name}`;
  const lines = [`/* ${struct.doc} */`, `typedef struct ${type} {`];
  for (const field of struct.fields) lines.push(`    ${cDeclaration(field)}${comment(field.doc)}`);
  lines.push(`} ${type};`, `_Static_assert(sizeof(${type}) == ${size}, "${type}");`);
  for (const [name, offset] of offsets) lines.push(`_Static_assert(offsetof(${type}, ${name}) == ${offset}, "${type}.${name}");`);
  return lines.join("\n");
}

const hexOf = (value: number | bigint): string => `0x${value.toString(16)}`;

function cHeader(): string {
  const magicBytes = [...magic].map((byte) => `0x${byte.toString(16).padStart(2, "0")}`).join(", ");
  const eager = eagerSections.reduce((mask, name) => mask | (1 << sectionKind[name]), 0);
  return [
    `/* The archive file's format. Generated by tools/gen-format.ts from ${schemaFile} and\n * ${externalsFile}; do not edit. Prose: docs/image-format.md. */`,
    "#ifndef PYCDS_FORMAT_H\n#define PYCDS_FORMAT_H",
    "#include <stddef.h>\n#include <stdint.h>",
    [
      `/* First bytes of the file: an initializer for uint8_t[${magic.length}]. */`,
      `#define PYCDS_MAGIC { ${magicBytes} }`,
      `#define PYCDS_MAGIC_SIZE ${magic.length}`,
      `#define PYCDS_BYTE_ORDER UINT32_C(0x${byteOrderMark.toString(16).padStart(8, "0")})`,
      `#define PYCDS_FORMAT_VERSION UINT32_C(${formatVersion})`,
      "/* \"No index\" or \"no string\". */",
      `#define PYCDS_NONE UINT32_C(${hexOf(none)})`,
      "/* Of the DATA section: valid for 4, 16 and 64 KiB pages. */",
      `#define PYCDS_SEGMENT_ALIGNMENT UINT32_C(${hexOf(segmentAlignment)})`,
      "/* Of DATA in the file: the machine's largest page. */",
      "#ifdef __x86_64__",
      `#define PYCDS_DATA_ALIGNMENT UINT32_C(${hexOf(dataAlignment("linux-x86_64"))})`,
      "#else",
      "#define PYCDS_DATA_ALIGNMENT PYCDS_SEGMENT_ALIGNMENT",
      "#endif",
      "/* Of a unit and of a name block in DATA. */",
      `#define PYCDS_UNIT_ALIGNMENT UINT32_C(${unitAlignment})`,
      "/* Of every object in a unit or name block. */",
      `#define PYCDS_OBJECT_ALIGNMENT UINT32_C(${objectAlignment})`,
      "/* Unit of FileHeader.data_hot_size, in bytes. */",
      "#define PYCDS_HOT_UNIT UINT32_C(4096)",
      "/* Bytes of a slot stream that are followed by the delta as u16 or u32. */",
      "#define PYCDS_SLOT_U16 UINT8_C(0xfe)",
      "#define PYCDS_SLOT_U32 UINT8_C(0xff)",
      "/* Bytes of an index stream that are followed by the rest of the index: by one byte from the first on, by a u32 at 0xff. */",
      `#define PYCDS_INDEX_WIDE UINT8_C(0x${wideIndex.toString(16)})`,
      "#define PYCDS_INDEX_U32 UINT8_C(0xff)",
      "/* Bit of a name-table word: a one-character Latin-1 name, the low byte is its code point. */",
      `#define PYCDS_NAME_LATIN1 UINT32_C(0x${nameLatin1.toString(16)})`,
      "/* Multiplier of the folder index in the entry hash. */",
      "#define PYCDS_ENTRY_HASH_FACTOR UINT64_C(0x9e3779b97f4a7c15)",
    ].join("\n"),
    [
      "/* FileHeader.required_features; a bit outside PYCDS_FEATURES_KNOWN means refuse. */",
      ...featureConstants.map((c) => `#define ${c.name} UINT64_C(${hexOf(c.value)})${comment(c.doc)}`),
      `#define PYCDS_FEATURES_KNOWN (${featureConstants.map((c) => c.name).join(" | ")})`,
    ].join("\n"),
    ...groups.map((group) =>
      [`/* ${group.title} */`, "enum {", ...group.constants.map((c) => `    ${c.name} = ${c.value},${comment(c.doc)}`), "};"].join("\n"),
    ),
    [
      "/* Bit KIND is set for sections whose digest is checked when the archive is mapped. */",
      `#define PYCDS_SECTIONS_EAGER UINT32_C(${hexOf(eager)})`,
    ].join("\n"),
    [
      "/* X(number, symbol) for every external type. */",
      `#define PYCDS_EXT_TYPES(X) \\\n${externalTypes.map((type) => `    X(${typeConstant(type)}, ${type})`).join(" \\\n")}`,
      `#define PYCDS_EXT_TYPE_COUNT ${externalTypes.length}`,
    ].join("\n"),
    ...allStructs.map(cStruct),
    "#endif",
    "",
  ].join("\n\n").replace(/\n+$/, "\n");
}

// ---- the document ------------------------------------------------------------

const cell = (text: string): string => text.replace(/\|/g, "\\|");
const typeName = (field: Field): string => (typeof field.type === "string" ? field.type : `u8[${field.type.bytes}]`);

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function structDocument(struct: Struct): string {
  const { offsets, size } = layoutOf(struct);
  const rows = struct.fields.map((field) => [String(offsets.get(field.name)), String(fieldSize(field.type)), typeName(field), `\`${field.name}\``, field.doc]);
  return `### ${struct.name} (${size} bytes)\n\n${struct.doc}\n\n${table(["offset", "size", "type", "field", "meaning"], rows)}`;
}

function document(): string {
  const preamble = readFileSync(here(schemaFile), "utf8").match(/^\/\*\*([^]*?)\*\//)?.[1] ?? "";
  const conventions = preamble.replace(/^ \*/gm, "").replace(/[ \t]+/g, " ").split(/\n\s*\n/).slice(1).map((part) => part.replace(/\s+/g, " ").trim()).join("\n\n");
  const eager = new Set<string>(eagerSections);
  return [
    "# The archive file (`*.pycds`)",
    `Generated by \`tools/gen-format.ts\` from \`${schemaFile}\` and \`${externalsFile}\`; do not edit. The same schema makes \`native/include/pycds_format.h\`.`,
    conventions,
    "## Shape",
    `A file is a FileHeader, at once followed by its section table, then the sections. Format version ${formatVersion}. Magic: \`${[...magic].map((b) => b.toString(16).padStart(2, "0")).join(" ")}\`. Byte order mark: \`${hexOf(byteOrderMark)}\`. The DATA section is aligned to ${dataAlignment("linux-x86_64") / 1024} KiB for x86_64 and ${segmentAlignment / 1024} KiB for other machines, so that it can be mapped at an address of its own with any page size; units in it are aligned to ${unitAlignment} bytes, objects in units to ${objectAlignment}.`,
    "Eager sections are digested when the archive is mapped; units and name blocks when they are first used.",
    table(["kind", "section", "eager", "holds"], sections.map(([name, kind]) => [String(kind), `\`${snake(name)}\``, eager.has(name) ? "yes" : "", sectionDocs[name]])),
    "## Structs",
    ...allStructs.map(structDocument),
    "## Constants",
    "### FileHeader.required_features",
    table(["bit", "name", "meaning"], featureConstants.map((c) => [hexOf(c.value), `\`${c.name}\``, c.doc])),
    ...groups.slice(1).flatMap((group) => [
      `### ${group.title}`,
      table(["value", "name", "meaning"], group.constants.map((c) => [String(c.value), `\`${c.name}\``, c.doc])),
    ]),
  ].join("\n\n") + "\n";
}

// ---- warm images ---------------------------------------------------------------

const warmSchemaFile = "src/warm/schema.ts";
const allWarmStructs: readonly Struct[] = Object.values(warmStructs);
const warmFlags = constantsOf("PYCDS_WARM_", warmFlag, commentsOf(warmSchemaFile, "warmFlag"));
const segmentKinds = constantsOf("PYCDS_SEGMENT_", segmentKind, commentsOf(warmSchemaFile, "segmentKind"));

function warmHeader(): string {
  const lines = (constants: readonly Constant[]): string => ["enum {", ...constants.map((c) => `    ${c.name} = ${c.value},${comment(c.doc)}`), "};"].join("\n");
  return [
    `/* The warm image's format. Generated by tools/gen-format.ts from ${warmSchemaFile}; do not edit. */`,
    "#ifndef PYCDS_WARM_FORMAT_H\n#define PYCDS_WARM_FORMAT_H",
    "#include <stddef.h>\n#include <stdint.h>",
    [
      `#define PYCDS_WARM_MAGIC { ${[...warmMagic].map((byte) => `0x${byte.toString(16).padStart(2, "0")}`).join(", ")} }`,
      `#define PYCDS_WARM_BYTE_ORDER UINT32_C(0x${byteOrderMark.toString(16).padStart(8, "0")})`,
      `#define PYCDS_WARM_FORMAT_VERSION UINT32_C(${warmFormatVersion})`,
      `#define PYCDS_WARM_NONE UINT32_C(${hexOf(none)})`,
      `#define PYCDS_WARM_PAGE UINT64_C(${pageSize})`,
      `#define PYCDS_WARM_SIGNALS ${signalCount}`,
      `#define PYCDS_WARM_SLOT_MARK "${slotMark}"`,
      "/* Variables that are watched as a whole. */",
      `#define PYCDS_WARM_PREFIXES { ${watchedPrefixes.map((prefix) => JSON.stringify(prefix)).join(", ")} }`,
    ].join("\n"),
    `/* WarmHeader.flags */\n${lines(warmFlags)}\n#define PYCDS_WARM_FLAGS_KNOWN (${warmFlags.map((c) => c.name).join(" | ")})`,
    `/* WarmSegment.kind */\n${lines(segmentKinds)}`,
    ...allWarmStructs.map(cStruct),
    "#endif",
    "",
  ].join("\n\n").replace(/\n+$/, "\n");
}

function warmDocument(): string {
  const constants = (title: string, rows: readonly Constant[]): string => `### ${title}\n\n${table(["value", "name", "meaning"], rows.map((c) => [hexOf(c.value), `\`${c.name}\``, c.doc]))}`;
  const preamble = readFileSync(here(warmSchemaFile), "utf8").match(/^\/\*\*([^]*?)\*\//)?.[1] ?? "";
  const conventions = preamble.replace(/^ \*/gm, "").replace(/[ \t]+/g, " ").split(/\n\s*\n/).slice(1).map((part) => part.replace(/\s+/g, " ").trim()).join("\n\n");
  return [
    "# The warm image (`*.warm`)",
    `Generated by \`tools/gen-format.ts\` from \`${warmSchemaFile}\`; do not edit. The same schema makes \`native/include/pycds_warm_format.h\`. How it is used: [warm.md](warm.md).`,
    conventions,
    `Watched variables: ${watchedVariables.map((name) => `\`${name}\``).join(", ")}, those that begin with ${watchedPrefixes.map((name) => `\`${name}\``).join(", ")}, and those that Python code read while the image was built.`,
    "## Structs",
    ...allWarmStructs.map(structDocument),
    "## Constants",
    constants("WarmHeader.flags", warmFlags),
    constants("WarmSegment.kind", segmentKinds),
  ].join("\n\n") + "\n";
}

// ---- main ----------------------------------------------------------------------

const outputs: readonly (readonly [string, string])[] = [
  ["native/include/pycds_format.h", cHeader()],
  ["docs/image-format.md", document()],
  ["native/include/pycds_warm_format.h", warmHeader()],
  ["docs/warm-format.md", warmDocument()],
];
const check = process.argv.includes("--check");
for (const [file, text] of outputs) {
  if (!check) {
    mkdirSync(dirname(here(file)), { recursive: true });
    writeFileSync(here(file), text);
    continue;
  }
  let found = "";
  try {
    found = readFileSync(here(file), "utf8");
  } catch {
    // A missing file differs, which is what is reported.
  }
  if (found !== text) {
    process.stderr.write(`pycds: error: ${file} differs from the schema — run npx tsx tools/gen-format.ts\n`);
    process.exitCode = 1;
  }
}
