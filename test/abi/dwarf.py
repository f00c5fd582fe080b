# Run inside gdb: prints, as JSON, every member of the structs named in $PYCDS_STRUCTS
# with offset and size, nested headers flattened. Absent debug information: null.
import json
import os

import gdb

# One word, or one block, to us.
WHOLE = {"state", "cval", "smalltable", "ob_mutex"}
# Second names of bytes that ob_refcnt also names; and the byte that makes 3.14's union as aligned as it is.
ALIASES = {"ob_refcnt_split", "ob_refcnt_full", "_aligner"}


def members(kind, base, found):
    kind = kind.strip_typedefs()
    for member in kind.fields():
        offset = base + member.bitpos // 8
        inner = member.type.strip_typedefs()
        compound = inner.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION)
        if member.name in ALIASES:
            continue
        if compound and member.name not in WHOLE:
            members(inner, offset, found)
        elif member.name != "data":
            trailing = inner.code == gdb.TYPE_CODE_ARRAY and member.name not in WHOLE
            found[member.name] = {"offset": offset, "size": 0 if trailing else inner.sizeof}


def main():
    answer = {}
    for name in os.environ["PYCDS_STRUCTS"].split():
        try:
            kind = gdb.lookup_type(name)
        except gdb.error:
            return None
        found = {}
        members(kind, 0, found)
        answer[name] = {"size": kind.sizeof, "fields": found}
    return answer


print("PYCDS " + json.dumps(main()))
