/*
 * Is a class that types.c made what stock makes? Asked at installation, of classes
 * made both ways and of those that are there already, and under PYCDS_TYPES=check
 * of every class. (docs/types.md)
 */
#include "tables.h"
#include "types.h"

#include <string.h>

enum { SLOT_DESCR_SET = 55, SLOT_SETATTRO = 69 }; /* Include/typeslots.h */

typedef int (*SetAttribute)(PyObject *object, PyObject *name, PyObject *value);

/*
 * Sets an attribute to None and then to what it was, or deletes it again: each time
 * stock updates the slots of that name (Objects/typeobject.c: type_setattro, update_slot).
 */
static int update(PyObject *type, PyObject *name) {
    SetAttribute set;
    *(void **)&set = PyType_GetSlot(&PyType_Type, SLOT_SETATTRO);
    PyObject *dict = dict_of(type), *own = dict ? py_new_ref(PyDict_GetItemWithError(dict, name)) : NULL;
    int result = set(type, name, PY_NONE);
    if (result == 0) result = set(type, name, own);
    Py_DecRef(own);
    return result;
}

/* An attribute of the metaclass takes what is set. */
static int is_taken(PyObject *type, PyObject *name) {
    PyObject *attribute = facts.look_up(py_type(type), name);
    return attribute && PyType_GetSlot(py_type(attribute), SLOT_DESCR_SET);
}

/*
 * tp_new is what stock takes over from itself where __new__ is a C type's (update_one_slot:
 * specific = type->tp_new), so there setting and deleting would leave another one. What
 * type_new began with is the base's.
 */
static int check_new(PyObject *type, uint32_t group, unsigned long *different) {
    const SlotRow *row = &slot_table.rows[slot_table.groups[group].first];
    void *const before = *type_slot(type, group);
    PyObject *found = facts.look_up(type, row->name), *base = base_of(type);
    const int of_c = found && py_is(found, &PyCFunction_Type);
    if (!of_c && update(type, row->name) < 0) return -1;
    *different += before != *type_slot(type, group) || (of_c && before != *type_slot(base, group));
    return 0;
}

int types_check(PyObject *type, unsigned long *different) {
    const SlotTable *t = &slot_table;
    void *before[GROUPS_MAX] = {NULL};
    *different = 0;
    for (uint32_t g = 0; g < t->group_count; g++) before[g] = *type_slot(type, g);
    for (uint32_t g = 0; g < t->group_count; g++) {
        uint32_t row = t->groups[g].first;
        while (row < t->groups[g].end && is_taken(type, t->rows[row].name)) row++;
        if (t->groups[g].offset == facts.abi->class_new) {
            if (check_new(type, g, different) < 0) return -1;
            before[g] = *type_slot(type, g);
        } else if (row < t->groups[g].end && update(type, t->rows[row].name) < 0) return -1;
    }
    for (uint32_t g = 0; g < t->group_count; g++) *different += before[g] != *type_slot(type, g);
    return 0;
}

/* ---- the self-test ------------------------------------------------------------------------- */

/* 1: its slots are what we say. Those that a slot's first use replaced (`get`) are not looked at. */
static int is_as_predicted(PyObject *type, uint32_t get) {
    Slots slots;
    if (!slots_predict(type, &slots)) return 1; /* not among what we know */
    for (uint32_t g = 0; g < slot_table.group_count; g++)
        if (g != get && slots.values[g] != *type_slot(type, g)) return 0;
    return 1;
}

/* Classes that stock made before: those of modules that are there when Python starts. 0, or -1 with a reason. */
static int look_at_classes(char why[PYCDS_WHY]) {
    static const char *const modules[] = {"_frozen_importlib", "_frozen_importlib_external", "abc", "codecs", "io", "os", "_collections_abc", "_weakrefset", "types"};
    PyObject *all = PyImport_GetModuleDict();
    int seen = 0;
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++) {
        PyObject *module = all && py_is_dict(all) ? PyDict_GetItemString(all, modules[i]) : NULL;
        PyObject *dict = module && py_is_module(module) ? PyModule_GetDict(module) : NULL, *name, *value;
        for (Py_ssize_t position = 0; dict && PyDict_Next(dict, &position, &name, &value);) {
            if (!is_type(value) || !is_made_here(value) || !is_known_base(value)) continue;
            seen++;
            if (!is_as_predicted(value, facts.getattr_group)) return refuse(why, "the slots of a class of %s are others than expected", modules[i]);
        }
    }
    return seen >= 8 ? 0 : refuse(why, "no classes to compare with");
}

static unsigned calls, late; /* of the probes' __init_subclass__; those that found the table changed */
static PyObject *told(PyObject *self, PyObject *args) {
    (void)self, (void)args;
    calls++;
    late += !types_table_is_whole();
    return py_new_ref(PY_NONE);
}
static PyMethodDef told_def = {"__init_subclass__", told, METH_NOARGS, NULL};

/* One class: its bases and its names, each of which is a function. New reference or NULL. */
static PyObject *probe(PyObject *first, PyObject *second, const char *const *names, PyObject *function, int fast) {
    PyObject *bases = second ? PyTuple_Pack(2, first, second) : PyTuple_Pack(1, first), *namespace = PyDict_New(), *name = PyUnicode_InternFromString("pycds");
    int result = bases && namespace && name && PyDict_SetItemString(namespace, "__module__", name) == 0 ? 0 : -1;
    for (; result == 0 && *names; names++) {
        /* interned, as the names in a class body */
        PyObject *key = PyUnicode_InternFromString(*names);
        result = key ? PyDict_SetItem(namespace, key, function) : -1;
        Py_DecRef(key);
    }
    PyObject *args = result == 0 ? PyTuple_Pack(3, name, bases, namespace) : NULL, *type = args ? types_make(&PyType_Type, args, NULL, fast) : NULL;
    Py_DecRef(args);
    Py_DecRef(name);
    Py_DecRef(namespace);
    Py_DecRef(bases);
    return type;
}

static int have_same_slots(PyObject *one, PyObject *other) {
    for (uint32_t g = 0; g < slot_table.group_count; g++)
        if (*type_slot(one, g) != *type_slot(other, g)) return 0;
    return 1;
}

/* A class with methods, and one below it and a second one, each by stock and fast. */
static int make_both_ways(char why[PYCDS_WHY]) {
    static const char *const init_subclass[] = {"__init_subclass__", NULL}, *const some[] = {"__eq__", "__call__", "__getattr__", "__new__", NULL},
                             *const more[] = {"__iter__", "__getitem__", "__hash__", "__str__", NULL}, *const own[] = {"__len__", "__repr__", "__radd__", NULL};
    PyObject *modules = PyImport_GetModuleDict(), *importlib = modules ? PyDict_GetItemString(modules, "_frozen_importlib") : NULL;
    PyObject *function = importlib ? PyObject_GetAttrString(importlib, "_verbose_message") : NULL, *tell = PyCFunction_NewEx(&told_def, NULL, NULL);
    enum { ROOT, MIXIN, STOCK_ONE, FAST_ONE, STOCK_TWO, FAST_TWO, PROBES };
    PyObject *made[PROBES] = {NULL};
    calls = late = 0;
    made[ROOT] = function && tell ? probe(&PyBaseObject_Type, NULL, init_subclass, tell, 0) : NULL;
    made[MIXIN] = made[ROOT] ? probe(&PyBaseObject_Type, NULL, more, function, 0) : NULL;
    for (int fast = 0; fast < 2 && made[MIXIN]; fast++) {
        made[STOCK_ONE + fast] = probe(made[ROOT], NULL, some, function, fast);
        if (made[STOCK_ONE + fast]) made[STOCK_TWO + fast] = probe(made[STOCK_ONE + fast], made[MIXIN], own, function, fast);
    }
    int result = 0;
    if (PyErr_Occurred() || !made[FAST_TWO] || !made[STOCK_TWO]) result = refuse(why, "the self-test could not make its classes");
    else if (calls != 4 || late != 0 || !types_table_is_whole()) result = refuse(why, "the table of slots was not back in time");
    else if (!have_same_slots(made[STOCK_ONE], made[FAST_ONE]) || !have_same_slots(made[STOCK_TWO], made[FAST_TWO])) result = refuse(why, "the self-test's classes differ from stock's");
    for (int i = PROBES; i-- > 0;)
        if (made[i]) types_dispose(made[i]);
    Py_DecRef(tell);
    Py_DecRef(function);
    return result;
}

int types_self_test(char why[PYCDS_WHY]) { return make_both_ways(why) == 0 ? look_at_classes(why) : -1; }
