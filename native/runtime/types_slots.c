/*
 * What a class's slots are, found by its own names and its base's slots
 * (docs/types.md): the table that stock fills them by, and its rules
 * (Objects/typeobject.c: slotdefs, update_one_slot). Nothing here runs code but
 * what says so.
 */
#include "tables.h"
#include "types.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SLOT_CLEAR = 51 }; /* Include/typeslots.h */

SlotTable slot_table;
TypeFacts facts;

/* ---- the table --------------------------------------------------------------------------- */

typedef struct SlotName {
    PyObject *name; /* NULL: free */
    Py_hash_t hash;
    uint32_t count, groups[ROWS_OF_NAME_MAX];
} SlotName;
enum { NAMES = 512 };
static SlotName slot_names[NAMES];

static SlotName *place_of(PyObject *name, Py_hash_t hash) {
    for (size_t i = (size_t)hash;; i++) {
        SlotName *place = &slot_names[i % NAMES];
        if (!place->name || (place->hash == hash && (place->name == name || PyUnicode_Compare(place->name, name) == 0))) return place;
    }
}

/* NULL for a name that fills no slot. `name`: an exact str. */
static const SlotName *slots_of(PyObject *name) {
    const SlotName *place = place_of(name, PyObject_Hash(name));
    return place->name ? place : NULL;
}

PyObject *slot_name(PyObject *name) {
    const SlotName *found = slots_of(name);
    return found ? found->name : NULL;
}

static int add_row(const char *row, char why[PYCDS_WHY]) {
    SlotTable *t = &slot_table;
    const char *text;
    int32_t offset;
    void *function;
    PyObject *name;
    memcpy(&text, row, sizeof text);
    memcpy(&offset, row + facts.abi->class_slotdef_offset, sizeof offset);
    memcpy(&function, row + facts.abi->class_slotdef_function, sizeof function);
    memcpy(&name, row + facts.abi->class_slotdef_object, sizeof name);
    if (t->row_count == ROWS_MAX || !name || !py_is_str(name) || PyUnicode_CompareWithASCIIString(name, text) != 0 || offset < 0 || offset % 8 != 0 ||
        (uint32_t)offset >= facts.abi->class_slots_end)
        return refuse(why, "row %u of slotdefs is not what it should be", t->row_count);
    Group *last = t->group_count ? &t->groups[t->group_count - 1] : NULL;
    if (!last || last->offset != (uint32_t)offset) {
        for (uint32_t g = 0; g < t->group_count; g++)
            if (t->groups[g].offset == (uint32_t)offset) return refuse(why, "the rows of one slot do not stand together: %s", text);
        if (t->group_count == GROUPS_MAX) return refuse(why, "too many slots");
        last = &t->groups[t->group_count++];
        *last = (Group){.offset = (uint32_t)offset, .first = t->row_count, .end = t->row_count, .function = function};
    } else if (last->function != function) {
        return refuse(why, "two functions for one slot: %s", text);
    }
    SlotName *place = place_of(name, PyObject_Hash(name));
    if (place->count == ROWS_OF_NAME_MAX) return refuse(why, "too many slots for %s", text);
    place->name = name;
    place->hash = PyObject_Hash(name);
    place->groups[place->count++] = t->group_count - 1;
    t->rows[t->row_count++] = (SlotRow){.name = name, .group = t->group_count - 1};
    last->end = t->row_count;
    return 0;
}

/* Asks the system, which answers where a store would be the end of the process. */
static int is_writable(void *word) {
    int ends[2], result = 0;
    if (pipe(ends) < 0) return 0;
    if (write(ends[1], word, sizeof(void *)) == sizeof(void *)) result = read(ends[0], word, sizeof(void *)) == sizeof(void *);
    close(ends[0]);
    close(ends[1]);
    return result;
}

/* The group that `name` fills besides those without a function; -1 when there is not exactly one. */
static int the_group_of(PyObject *name) {
    const SlotName *place = slots_of(name);
    int found = -1;
    for (uint32_t i = 0; place && i < place->count; i++) {
        if (!slot_table.groups[place->groups[i]].function) continue;
        if (found >= 0) return -1;
        found = (int)place->groups[i];
    }
    return found;
}

/* slotdefs, from the row that object.__repr__ was made of; the first row is one of __getattribute__ (3.11 to 3.14). */
int slots_find_table(char why[PYCDS_WHY]) {
    PyObject *name = PyUnicode_InternFromString("__repr__"), *wrapper = name ? facts.look_up(&PyBaseObject_Type, name) : NULL;
    Py_DecRef(name);
    if (!wrapper) return refuse(why, "object has no __repr__");
    facts.wrapper_type = py_type(wrapper);
    char *row;
    memcpy(&row, (char *)wrapper + facts.abi->class_wrapper_base, sizeof row);
    const char *text = NULL;
    for (int back = 0; back < 5; back++, row -= facts.abi->class_slotdef_size) {
        memcpy(&text, row, sizeof text);
        if (strcmp(text, back == 0 ? "__repr__" : back == 1 ? "__delattr__" : back == 2 ? "__setattr__" : back == 3 ? "__getattr__" : "__getattribute__") != 0)
            return refuse(why, "slotdefs do not begin as they should");
    }
    row += facts.abi->class_slotdef_size;
    slot_table.start = row;
    slot_table.first_name = text;
    for (; memcpy(&text, row, sizeof text), text; row += facts.abi->class_slotdef_size)
        if (add_row(row, why) < 0) return -1;
    PyObject *getattr = PyUnicode_InternFromString("__getattr__");
    const int hash = the_group_of(facts.name_hash), attribute = getattr ? the_group_of(getattr) : -1, new = the_group_of(facts.name_new);
    Py_DecRef(getattr);
    if (hash < 0 || attribute < 0 || new < 0 || slot_table.groups[hash].end - slot_table.groups[hash].first != 1 || slot_table.groups[new].offset != facts.abi->class_new)
        return refuse(why, "slotdefs lack __hash__, __getattr__ or __new__");
    facts.hash_group = (uint32_t)hash;
    facts.getattr_group = (uint32_t)attribute;
    return is_writable(slot_table.start) ? 0 : refuse(why, "slotdefs are read-only");
}

/* ---- what a class's slots are ---------------------------------------------------------------- */


/* Borrowed; from 3.12 on static types of the interpreter have theirs elsewhere. */
PyObject *dict_of(PyObject *type) {
    PyObject *dict = *type_field(type, facts.abi->class_dict);
    if (!dict && facts.type_dict) {
        dict = facts.type_dict(type);
        Py_DecRef(dict); /* the interpreter has one */
    }
    return dict;
}

/* Made by type_new (type_new_alloc): PyType_FromSpec sets a name of its own, C libraries that fill types by hand another tp_dealloc. */
int is_made_here(PyObject *type) {
    return (flags_of(type) & FLAG_HEAP) && *type_field(type, facts.abi->class_dealloc) == facts.heap_dealloc && !*type_field(type, facts.abi->class_module) && !*type_field(type, facts.abi->class_type_name);
}

/* object, and the builtin exceptions: what they have for slots is in them and never changes. */
static int is_known_static(PyObject *type) {
    const unsigned long flags = flags_of(type);
    return type == &PyBaseObject_Type || (!(flags & FLAG_HEAP) && (flags & FLAG_IMMUTABLE) && (flags & FLAG_EXCEPTION));
}

/* A type of a C library that adds no slot to object's (typing.Generic, from 3.12 on): looked at anew each time, since it may get one. */
static int is_transparent(PyObject *type) {
    PyObject *dict, *mro = mro_of(type), *key;
    if (!(flags_of(type) & FLAG_HEAP) || py_type(type) != &PyType_Type || base_of(type) != &PyBaseObject_Type || !mro || !py_is_tuple(mro) || PyTuple_Size(mro) != 2) return 0;
    if (*type_field(type, facts.abi->class_new) != *type_field(&PyBaseObject_Type, facts.abi->class_new) || !(dict = dict_of(type)) || !py_is_dict(dict)) return 0;
    for (Py_ssize_t position = 0; PyDict_Next(dict, &position, &key, NULL);)
        if (!py_is_str(key) || slots_of(key)) return 0;
    return 1;
}

/* What an empty class below a static type has for slots: not what the type itself has (tp_iternext, tp_new). */
static struct Donor {
    PyObject *type;
    Slots *slots;
} donors[80];

static const Slots *donor_of(PyObject *type) {
    for (size_t i = 0; i < sizeof donors / sizeof donors[0] && donors[i].type; i++)
        if (donors[i].type == type) return donors[i].slots;
    return NULL;
}

static PyObject *make_sample(PyObject *base, PyObject *name, PyObject *value) {
    PyObject *bases = PyTuple_Pack(1, base), *namespace = PyDict_New(), *sample = NULL;
    PyObject *args = bases && namespace && PyDict_SetItem(namespace, facts.name_module, facts.name_module) == 0 && (!name || PyDict_SetItem(namespace, name, value) == 0)
                         ? PyTuple_Pack(3, facts.name_module, bases, namespace)
                         : NULL;
    if (args) sample = facts.stock_new(&PyType_Type, args, NULL);
    Py_DecRef(args);
    Py_DecRef(namespace);
    Py_DecRef(bases);
    if (!sample) PyErr_Clear();
    return sample;
}

void types_dispose(PyObject *type) {
    int (*clear)(PyObject *);
    *(void **)&clear = PyType_GetSlot(&PyType_Type, SLOT_CLEAR);
    clear(type);
    Py_DecRef(type);
}

/* Asks stock, once for each type. May run any code: making a class brings the collector in 3.11. */
static const Slots *donor_made(PyObject *type) {
    const Slots *known = donor_of(type);
    if (known) return known;
    PyObject *sample = make_sample(type, NULL, NULL);
    Slots *slots = sample ? malloc(sizeof *slots) : NULL;
    for (uint32_t g = 0; slots && g < slot_table.group_count; g++) slots->values[g] = *type_slot(sample, g);
    if (sample) types_dispose(sample);
    for (size_t i = 0; slots && i < sizeof donors / sizeof donors[0]; i++) {
        if (donors[i].type) continue;
        donors[i] = (struct Donor){.type = type, .slots = slots};
        return slots;
    }
    free(slots);
    return NULL;
}

/* The slots of an empty class below a type that is not made here; NULL when it is not known. */
static const Slots *source_of(PyObject *type) {
    const Slots *donor = donor_of(type);
    return donor ? donor : is_transparent(type) ? donor_of(&PyBaseObject_Type) : NULL;
}

void ask_about_base(PyObject *base) {
    if (is_type(base) && is_known_static(base)) donor_made(base);
}

int is_known_base(PyObject *base) {
    PyObject *mro = (flags_of(base) & FLAG_READY) ? mro_of(base) : NULL;
    if (!mro || !py_is_tuple(mro)) return 0;
    for (Py_ssize_t i = 0, n = PyTuple_Size(mro); i < n; i++) {
        PyObject *type = PyTuple_GetItem(mro, i);
        if (!is_made_here(type) && !is_known_static(type) && !is_transparent(type)) return 0;
    }
    return is_made_here(base) || source_of(base) != NULL;
}

enum Kind kind_of(PyObject *name, PyObject *value) {
    PyObject *type = py_type(value);
    if (type == facts.wrapper_type || type == facts.method_descriptor_type) return OTHER;
    if (type == &PyCFunction_Type && name == facts.name_new) return OTHER;
    return value == PY_NONE && name == facts.name_hash ? NO_HASH : GENERIC;
}

/* A class that is looked at: where its MRO differs from its base's. */
typedef struct Look {
    PyObject *mro;
    Py_ssize_t count;
    unsigned char own[64]; /* the class itself, and those that its base's MRO lacks */
} Look;

/* One group of which a class that is not in the base's MRO has a name. 1, or 0 when it is not known. `value`: the base's; ours on return. */
static int resolve(const Look *look, uint32_t group, void **value) {
    const Group *g = &slot_table.groups[group];
    int no_hash = 0, other = 0, of_object = g->offset != facts.abi->class_new; /* of_object: all that is found is object's own */
    for (uint32_t r = g->first; r < g->end; r++) {
        PyObject *name = slot_table.rows[r].name, *found = NULL;
        Py_ssize_t at = 0;
        for (; at < look->count && !found; at++) found = PyDict_GetItemWithError(dict_of(PyTuple_GetItem(look->mro, at)), name);
        if (!found) continue;
        switch (kind_of(name, found)) {
        case GENERIC: *value = g->function; return 1;
        case NO_HASH: no_hash |= look->own[at - 1]; break;
        case OTHER: other |= look->own[at - 1]; break;
        }
        of_object &= PyDict_GetItemWithError(dict_of(&PyBaseObject_Type), name) == found;
    }
    if (no_hash) *value = facts.hash_of_none;
    if (!other) return 1;
    *value = donor_of(&PyBaseObject_Type)->values[group];
    return of_object;
}

/* Fills look->own. 0 when the base's MRO is not a part of the class's, in its order. */
static int compare_orders(Look *look, PyObject *base_mro) {
    const Py_ssize_t count = PyTuple_Size(base_mro);
    Py_ssize_t at = 0;
    if (look->count > (Py_ssize_t)sizeof look->own) return 0;
    memset(look->own, 0, sizeof look->own);
    look->own[0] = 1;
    for (Py_ssize_t i = 1; i < look->count; i++) {
        if (at < count && PyTuple_GetItem(look->mro, i) == PyTuple_GetItem(base_mro, at)) at++;
        else look->own[i] = 1;
    }
    return at == count;
}

int slots_predict(PyObject *type, Slots *slots) {
    PyObject *base = base_of(type), *dict = dict_of(type), *mro = mro_of(type), *base_mro = base ? mro_of(base) : NULL;
    if (!dict || !mro || !base_mro || !py_is_dict(dict) || !py_is_tuple(mro) || !py_is_tuple(base_mro) || PyTuple_GetItem(mro, 0) != type || (flags_of(type) & FLAG_HAS_VECTORCALL)) return 0;
    const int from_class = is_made_here(base);
    const Slots *donor = from_class ? NULL : source_of(base);
    if (!from_class && !donor) return 0;
    Look look = {.mro = mro, .count = PyTuple_Size(mro)};
    if (!compare_orders(&look, base_mro)) return 0;

    unsigned char done[GROUPS_MAX] = {0};
    const uint32_t count = slot_table.group_count;
    for (uint32_t g = 0; g < count; g++) slots->values[g] = from_class ? *type_slot(base, g) : donor->values[g];

    Py_ssize_t position = 0;
    PyObject *key, *value;
    while (PyDict_Next(dict, &position, &key, &value)) {
        const SlotName *name = slots_of(key);
        if (!name) continue;
        const enum Kind kind = kind_of(name->name, value);
        if (kind == OTHER) return 0;
        for (uint32_t i = 0; i < name->count; i++) {
            const uint32_t g = name->groups[i];
            slots->values[g] = kind == NO_HASH ? facts.hash_of_none : slot_table.groups[g].function;
            done[g] = 1;
        }
    }
    for (Py_ssize_t at = 1; at < look.count; at++) {
        PyObject *more = look.own[at] ? dict_of(PyTuple_GetItem(mro, at)) : NULL;
        for (position = 0; more && PyDict_Next(more, &position, &key, &value);) {
            const SlotName *name = slots_of(key);
            for (uint32_t i = 0; name && i < name->count; i++) {
                const uint32_t g = name->groups[i];
                if (!done[g] && !resolve(&look, g, &slots->values[g])) return 0;
                done[g] = 1;
            }
        }
    }
    /* A base that was used may have a quicker function by now: slot_tp_getattr_hook puts slot_tp_getattro in its place. */
    void **get = &slots->values[facts.getattr_group];
    if (!done[facts.getattr_group] && *get != slot_table.groups[facts.getattr_group].function && *get != donor_of(&PyBaseObject_Type)->values[facts.getattr_group]) return resolve(&look, facts.getattr_group, get);
    return 1;
}

int slots_find_values(char why[PYCDS_WHY]) {
    PyObject *plain = make_sample(&PyBaseObject_Type, NULL, NULL), *unhashable = make_sample(&PyBaseObject_Type, facts.name_hash, PY_NONE);
    if (plain) facts.heap_dealloc = *type_field(plain, facts.abi->class_dealloc);
    if (unhashable) facts.hash_of_none = *type_slot(unhashable, facts.hash_group);
    const int made = plain && unhashable;
    if (plain) types_dispose(plain);
    if (unhashable) types_dispose(unhashable);
    return made && facts.heap_dealloc && facts.hash_of_none && donor_made(&PyBaseObject_Type) ? 0 : refuse(why, "no classes could be made");
}

