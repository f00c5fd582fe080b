/* Between types.c, which makes classes, types_rules.c, which says which, types_slots.c, which knows their slots, and types_check.c, which compares with stock. */
#ifndef PYCDS_TYPES_H
#define PYCDS_TYPES_H

#include "state.h"

/* As many as any version has, and some more: 3.11 has 90 rows in 67 groups (Objects/typeobject.c, slotdefs). */
enum { ROWS_MAX = 120, GROUPS_MAX = 90, ROWS_OF_NAME_MAX = 8 };

/* The rows of slotdefs that fill one slot: they stand together, and have one function. */
typedef struct Group {
    uint32_t offset; /* of the slot in a heap type */
    uint32_t first, end; /* rows */
    void *function; /* the generic one, which looks the method up by name; NULL in those that only a C type fills */
} Group;

typedef struct SlotRow {
    PyObject *name; /* interned, the interpreter's own reference */
    uint32_t group;
} SlotRow;

typedef struct SlotTable {
    char *start;
    const char *first_name; /* NULL in its place makes the table look empty */
    uint32_t row_count, group_count;
    SlotRow rows[ROWS_MAX];
    Group groups[GROUPS_MAX];
} SlotTable;

typedef struct Slots { /* a value for each group */
    void *values[GROUPS_MAX];
} Slots;

extern SlotTable slot_table;

typedef PyObject *(*New)(PyObject *meta, PyObject *args, PyObject *keywords);

/* What installation found out; it does not change. */
typedef struct TypeFacts {
    const PycdsAbi *abi;
    New stock_new; /* type_new */
    PyObject *(*look_up)(PyObject *type, PyObject *name); /* _PyType_Lookup: by the MRO, without binding; borrowed, or NULL. Runs no code where names are exact strs */
    PyObject *(*type_dict)(PyObject *type);               /* PyType_GetDict, 3.12+ */
    PyObject *wrapper_type, *method_descriptor_type;
    PyObject *name_module, *name_new, *name_hash; /* interned */
    void *heap_dealloc, *hash_of_none; /* tp_dealloc of a class, tp_hash of one whose __hash__ is None */
    uint32_t hash_group, getattr_group;
} TypeFacts;
extern TypeFacts facts;

/* A pointer-sized field of a type, by its offset. */
static inline void **type_field(PyObject *type, uint32_t offset) { return (void **)(void *)((char *)type + offset); }
static inline void **type_slot(PyObject *type, uint32_t group) { return type_field(type, slot_table.groups[group].offset); }
/* No window is open. */
static inline int types_table_is_whole(void) { return *(const char **)(void *)slot_table.start == slot_table.first_name; }

#define FLAG_IMMUTABLE (1UL << 8) /* Py_TPFLAGS_* of Include/object.h; part of the stable ABI */
#define FLAG_HEAP (1UL << 9)
#define FLAG_HAS_VECTORCALL (1UL << 11)
#define FLAG_READY (1UL << 12)
#define FLAG_DICT (1UL << 29)
#define FLAG_EXCEPTION (1UL << 30)
#define FLAG_TYPE (1UL << 31)

static inline unsigned long flags_of(PyObject *type) { return (unsigned long)(uintptr_t)*type_field(type, facts.abi->class_flags); }
static inline PyObject *base_of(PyObject *type) { return *type_field(type, facts.abi->class_base); }
static inline PyObject *mro_of(PyObject *type) { return *type_field(type, facts.abi->class_mro); }
static inline int is_type(PyObject *object) { return (flags_of(py_type(object)) & FLAG_TYPE) != 0; }

/* ---- types_slots.c ---- */

/* Finds slotdefs, and the groups of __hash__ and __getattr__. 0; -1 with a reason. */
int slots_find_table(char why[PYCDS_WHY]);
/* What stock alone can tell: makes two classes, which go at once. 0; -1 with a reason. */
int slots_find_values(char why[PYCDS_WHY]);
/* __dict__ itself, borrowed; NULL when there is none yet. */
PyObject *dict_of(PyObject *type);
/* A class of type_new's own, not a library's (type_new_alloc). */
int is_made_here(PyObject *type);
/* 1: classes below it are known, as far as it goes: all of its MRO is classes made here, object and builtin exceptions. Runs no code. */
int is_known_base(PyObject *base);
/* Before it is asked whether a static type is a known base. May run any code: making a class brings the collector in 3.11. */
void ask_about_base(PyObject *base);
/*
 * What a class's attribute makes of a slot (update_one_slot). GENERIC: its generic
 * function, whatever the slot's other names have. OTHER: what depends on more.
 */
enum Kind { GENERIC, NO_HASH, OTHER };
enum Kind kind_of(PyObject *name, PyObject *value);
/* The table's own str of a slot's name; NULL for a name that fills no slot. */
PyObject *slot_name(PyObject *name);
/* 1: the slots of `type`, a ready class, as stock sets them. 0: not among what is known. Runs no code. */
int slots_predict(PyObject *type, Slots *slots);
/* Takes a class apart as the collector does, and drops the reference: nobody else has one. */
void types_dispose(PyObject *type);

/* ---- types_rules.c ---- */

/* Classes that stock made, by the rule that said so; names of rules as they are in docs/types.md. */
#define RULES(X) X(arguments) X(metaclass) X(bases) X(namespace) X(values) X(slots) X(cell) X(interpreters) X(error)
enum Rule {
    ELIGIBLE,
#define X(name) RULE_##name,
    RULES(X)
#undef X
    RULE_COUNT
};
/* Finds type, and what the rules ask of the interpreter; the table too. 0; -1 with a reason. */
int rules_find(char why[PYCDS_WHY]);
/* Another one may have a GIL of its own, and has the same table. */
int are_several_interpreters(void);
/* Why stock has to make the class of these arguments of type.__new__; ELIGIBLE: it has not. May run any code, but ends with looking. */
enum Rule rule_for(PyObject *meta, PyObject *args);

/* ---- types.c ---- */

/* type.__new__ as it was, with a window when `fast`. For the self-test. */
PyObject *types_make(PyObject *meta, PyObject *args, PyObject *keywords, int fast);

/* ---- types_check.c ---- */

/* Has stock update every slot of `type`, and counts those that were different. 0, or -1 with an exception. */
int types_check(PyObject *type, unsigned long *different);
/* Makes classes both ways, and looks at those that are there. 0; -1 with a reason. */
int types_self_test(char why[PYCDS_WHY]);

#endif
