/*
 * Which classes type_new makes without running anything but its own code, so that
 * a window may be open meanwhile (docs/types.md, decision 34: what each rule is for).
 */
#define _GNU_SOURCE
#include "tables.h"
#include "types.h"

#include <dlfcn.h>
#include <string.h>

enum { SLOT_ALLOC = 47, SLOT_DEALLOC = 52, SLOT_GETATTRO = 58, SLOT_ITER = 62, SLOT_NEW = 65, SLOT_FINALIZE = 80 }; /* Include/typeslots.h */

/* Functions that are not in the stable ABI of every version. */
static PyInterpreterState *(*first_interpreter)(void), *(*next_interpreter)(PyInterpreterState *);
static PyObject *(*cell_content)(PyObject *cell);
static PyObject *cell_type, *static_method_type, *class_method_type;

static PyObject *stock_mro;
static PyObject *name_set_name, *name_mro, *name_name;
/* What type_new takes out of a namespace, and does something with; a key may be equal to one without being it. */
enum Special { SLOTS, CLASSCELL, CLASSDICTCELL, MODULE, SPECIALS };
static struct {
    PyObject *name;
    Py_hash_t hash;
} specials[SPECIALS];
static PyObject *stock_name; /* type.__name__ */
static void *heap_alloc, *dict_iter, *type_getattr;

/* ---- which classes --------------------------------------------------------------------------------- */

/* Types whose instances are most of what stands in a class. They are immutable and have no __set_name__. */
static int is_plain_value(PyObject *value) {
    PyObject *type = py_type(value);
    return type == py_function_type || type == &PyUnicode_Type || type == &PyProperty_Type || type == static_method_type || type == class_method_type ||
           type == &PyTuple_Type || type == &PyLong_Type || type == &PyDict_Type || type == &PyBool_Type || type == &PyList_Type || value == PY_NONE;
}

static int are_strs(PyObject *sequence) {
    const int list = py_is_list(sequence);
    for (Py_ssize_t i = 0, n = list ? PyList_Size(sequence) : PyTuple_Size(sequence); i < n; i++)
        if (!py_is_str(list ? PyList_GetItem(sequence, i) : PyTuple_GetItem(sequence, i))) return 0;
    return 1;
}

/* PyCell_Set drops what a cell has, which may be the last reference to something; not to the namespace, which __classdictcell__ has at first. */
static int is_known_cell(PyObject *cell, PyObject *namespace) {
    if (!py_is(cell, cell_type)) return 0;
    PyObject *content = cell_content(cell);
    Py_DecRef(content);
    return !content || content == namespace;
}

static enum Special special_of(PyObject *key) {
    const Py_hash_t hash = PyObject_Hash(key);
    for (enum Special i = 0; i < SPECIALS; i++)
        if (specials[i].hash == hash && (specials[i].name == key || PyUnicode_Compare(specials[i].name, key) == 0)) return i;
    return SPECIALS;
}

/* Without __module__ type_new takes __name__ from the globals. */
static int are_globals_known(void) {
    PyObject *globals = PyEval_GetGlobals(), *key;
    if (!globals) return 1;
    if (!py_is_dict(globals) || PyDict_Size(globals) > 2000) return 0; /* looking through more than that is not worth it */
    for (Py_ssize_t position = 0; PyDict_Next(globals, &position, &key, NULL);)
        if (!py_is_str(key)) return 0;
    return 1;
}

static enum Rule namespace_rule(PyObject *namespace) {
    Py_ssize_t position = 0;
    PyObject *key, *value;
    int has_module = 0;
    while (PyDict_Next(namespace, &position, &key, &value)) {
        if (!py_is_str(key)) return RULE_namespace;
        switch (special_of(key)) {
        case SLOTS:
            if (!py_is_str(value) && !((py_is_tuple(value) || py_is_list(value)) && are_strs(value))) return RULE_slots;
            break;
        case CLASSCELL:
        case CLASSDICTCELL:
            if (!is_known_cell(value, namespace)) return RULE_cell;
            break;
        case MODULE: has_module = 1; break;
        case SPECIALS: break;
        }
        if (!is_plain_value(value)) {
            PyObject *name = slot_name(key);
            if ((name && kind_of(name, value) == OTHER) || facts.look_up(py_type(value), name_set_name)) return RULE_values;
        }
    }
    return has_module || are_globals_known() ? ELIGIBLE : RULE_namespace;
}

/* Where the bases have no common order, the message has the names of all of them (set_mro_error, check_duplicates: cls.__name__). */
static int are_named_plainly(PyObject *mro) {
    for (Py_ssize_t i = 0, n = PyTuple_Size(mro); i < n; i++) {
        PyObject *meta = py_type(PyTuple_GetItem(mro, i));
        if (meta != &PyType_Type && (PyType_GetSlot(meta, SLOT_GETATTRO) != type_getattr || facts.look_up(meta, name_name) != stock_name)) return 0;
    }
    return 1;
}

static int bases_are_known(PyObject *meta, PyObject *bases) {
    for (Py_ssize_t i = 0, n = PyTuple_Size(bases); i < n; i++) {
        PyObject *base = PyTuple_GetItem(bases, i);
        /* Of an unrelated metaclass type_new would call the tp_new. */
        if (!is_type(base) || (py_type(base) != meta && py_type(base) != &PyType_Type && !PyType_IsSubtype(meta, py_type(base))) || !is_known_base(base)) return 0;
        if (n > 1 && !are_named_plainly(mro_of(base))) return 0;
    }
    return 1;
}

int are_several_interpreters(void) { return next_interpreter(first_interpreter()) != NULL; }

enum Rule rule_for(PyObject *meta, PyObject *args) {
    if (PyErr_Occurred()) return RULE_error;
    if (PyTuple_Size(args) != 3) return RULE_arguments;
    PyObject *name = PyTuple_GetItem(args, 0), *bases = PyTuple_GetItem(args, 1), *namespace = PyTuple_GetItem(args, 2);
    if (!py_is_tuple(bases)) return RULE_arguments;
    for (Py_ssize_t i = 0, n = PyTuple_Size(bases); i < n; i++) ask_about_base(PyTuple_GetItem(bases, i));
    if (are_several_interpreters()) return RULE_interpreters; /* by now */
    /* A subclass of dict whose __iter__ is dict's is copied as one (PyDict_Copy, dict_merge). */
    if (!py_is_str(name) || !(flags_of(py_type(namespace)) & FLAG_DICT) || PyType_GetSlot(py_type(namespace), SLOT_ITER) != dict_iter) return RULE_arguments;
    if (*type_field(meta, facts.abi->class_alloc) != heap_alloc) return RULE_metaclass;
    /* __del__: a class that an exception ends half-way is finalised at once. */
    if (meta != &PyType_Type && (PyType_GetSlot(meta, SLOT_FINALIZE) || facts.look_up(meta, name_mro) != stock_mro)) return RULE_metaclass;
    return bases_are_known(meta, bases) ? namespace_rule(namespace) : RULE_bases;
}

/* ---- installation -------------------------------------------------------------------------------------- */

static int find_functions(char why[PYCDS_WHY]) {
    *(void **)&facts.look_up = dlsym(RTLD_DEFAULT, "_PyType_Lookup");
    *(void **)&facts.type_dict = dlsym(RTLD_DEFAULT, "PyType_GetDict");
    *(void **)&first_interpreter = dlsym(RTLD_DEFAULT, "PyInterpreterState_Head");
    *(void **)&next_interpreter = dlsym(RTLD_DEFAULT, "PyInterpreterState_Next");
    *(void **)&cell_content = dlsym(RTLD_DEFAULT, "PyCell_Get");
    cell_type = dlsym(RTLD_DEFAULT, "PyCell_Type");
    static_method_type = dlsym(RTLD_DEFAULT, "PyStaticMethod_Type");
    class_method_type = dlsym(RTLD_DEFAULT, "PyClassMethod_Type");
    return facts.look_up && first_interpreter && next_interpreter && cell_content && cell_type && static_method_type && class_method_type ? 0 : refuse(why, "functions of the interpreter are not exported");
}

static int intern(PyObject **name, const char *text, char why[PYCDS_WHY]) {
    if (!*name) *name = PyUnicode_InternFromString(text);
    return *name ? 0 : refuse(why, "no memory");
}

static int find_names(char why[PYCDS_WHY]) {
    static const char *const texts[SPECIALS] = {"__slots__", "__classcell__", "__classdictcell__", "__module__"};
    for (int i = 0; i < SPECIALS; i++) {
        if (intern(&specials[i].name, texts[i], why) < 0) return -1;
        specials[i].hash = PyObject_Hash(specials[i].name);
    }
    facts.name_module = specials[MODULE].name;
    if (intern(&name_set_name, "__set_name__", why) < 0 || intern(&name_mro, "mro", why) < 0 || intern(&name_name, "__name__", why) < 0) return -1;
    return intern(&facts.name_new, "__new__", why) < 0 ? -1 : intern(&facts.name_hash, "__hash__", why);
}

/* What type has, by two ways; and type_new is in the library that the slots' functions are in, so it is stock's. */
static int find_type(char why[PYCDS_WHY]) {
    heap_alloc = PyType_GetSlot(&PyType_Type, SLOT_ALLOC);
    dict_iter = PyType_GetSlot(&PyDict_Type, SLOT_ITER);
    memcpy(&facts.stock_new, type_field(&PyType_Type, facts.abi->class_new), sizeof facts.stock_new);
    stock_mro = facts.look_up(&PyType_Type, name_mro);
    stock_name = facts.look_up(&PyType_Type, name_name);
    type_getattr = PyType_GetSlot(&PyType_Type, SLOT_GETATTRO);
    PyObject *base = base_of(&PyType_Type), *mro = mro_of(&PyType_Type);
    if (PyType_GetSlot(&PyType_Type, SLOT_NEW) != *(void **)&facts.stock_new || *type_field(&PyType_Type, facts.abi->class_alloc) != heap_alloc ||
        *type_field(&PyType_Type, facts.abi->class_dealloc) != PyType_GetSlot(&PyType_Type, SLOT_DEALLOC) || base != &PyBaseObject_Type || !mro || !py_is_tuple(mro) ||
        PyTuple_Size(mro) != 2 || PyTuple_GetItem(mro, 0) != &PyType_Type || (flags_of(&PyType_Type) & FLAG_TYPE) == 0 || !stock_mro || !stock_name || !dict_of(&PyType_Type))
        return refuse(why, "type is not laid out as it should be");
    facts.method_descriptor_type = py_type(stock_mro);
    Dl_info here, there;
    void *function = slot_table.groups[facts.getattr_group].function, *new = *(void **)&facts.stock_new;
    if (!function || !dladdr(function, &here) || !dladdr(new, &there) || here.dli_fbase != there.dli_fbase) return refuse(why, "type.__new__ is not stock's");
    return 0;
}


int rules_find(char why[PYCDS_WHY]) { return find_names(why) == 0 && find_functions(why) == 0 && slots_find_table(why) == 0 ? find_type(why) : -1; }
