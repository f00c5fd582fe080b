/*
 * Classes made with less work, for programs that ask for it: PYCDS_TYPES=fast
 * (docs/types.md, decision 34).
 *
 * Having made a class, type.__new__ looks some 90 method names up along its MRO to
 * fill its slots (Objects/typeobject.c, fixup_slot_dispatchers): most of what a
 * class costs. A class whose bases were made by type.__new__ too has its base's
 * slots, but those of the methods that it defines itself. So for a class of which
 * that is known, type.__new__ runs over a table of slots that looks empty, and
 * the slots are copied.
 *
 * The table looks empty in a window only, in which no code but type_new's runs
 * (decision 34 goes through it call by call):
 *
 *   make()      is_eligible: nothing in these arguments makes type_new run anything
 *   open        3.11: the collector waits; super() is hooked; the table looks empty
 *   type_new    ... type_new_init_subclass: super(cls, cls), the first thing that may run code
 *   at_super    the window closes; the slots are set; check mode compares
 *   type_new    cls.__init_subclass__ runs, over a class that is complete
 *
 * Where setting the slots meets what it does not know, the class is thrown away
 * before anybody saw it, and stock makes it anew.
 *
 * Everything here runs with the GIL held, in the only interpreter.
 */
#define _GNU_SOURCE
#include "types.h"
#include "tables.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef PyObject *(*Vectorcall)(PyObject *callable, PyObject *const *args, size_t flags, PyObject *names);

enum Mode { STOCK, FAST, CHECK };
static enum Mode mode; /* STOCK: every call goes straight on */
static char off_reason[PYCDS_WHY] = "not asked for";
/* As in docs/types.md. */
static const char *const rule_names[RULE_COUNT] = {"",
#define X(name) #name,
    RULES(X)
#undef X
};
static unsigned long by_stock[RULE_COUNT], fast_count, anew_count, checked_count, mismatch_count;

static int (*collector_off)(void), (*collector_on)(void); /* 3.11; NULL where type_new cannot bring the collector */

/* ---- the window ------------------------------------------------------------------------------ */

static struct Window {
    PyObject *meta;
    PyObject *odd;  /* a class whose slots we could not set; our reference */
    int finished;   /* its slots are set */
    int collects;   /* the collector was on */
} *window; /* NULL: closed */

static New super_new;
static Vectorcall super_call;
static PyObject *odd_class; /* the exception that takes type_new back; it never leaves this file */

static PyObject *hooked_super_new(PyObject *type, PyObject *args, PyObject *keywords);
static PyObject *hooked_super_call(PyObject *callable, PyObject *const *args, size_t flags, PyObject *names);

static void put(PyObject *type, uint32_t offset, const void *function, size_t size) { memcpy(type_field(type, offset), function, size); }

static void set_super(New new, Vectorcall call) {
    put(&PySuper_Type, facts.abi->class_new, &new, sizeof new);
    put(&PySuper_Type, facts.abi->class_vectorcall, &call, sizeof call);
}

static void open_window(struct Window *w) {
    w->collects = collector_off && collector_off();
    set_super(hooked_super_new, super_call ? hooked_super_call : NULL);
    const char *nothing = NULL;
    memcpy(slot_table.start, &nothing, sizeof nothing);
    window = w;
}

static void close_window(void) {
    const int collects = window->collects;
    window = NULL;
    memcpy(slot_table.start, &slot_table.first_name, sizeof slot_table.first_name);
    set_super(super_new, super_call);
    if (collects) collector_on();
}

void types_off(const char *why) {
    if (mode == STOCK) return;
    mode = STOCK;
    snprintf(off_reason, sizeof off_reason, "%s", why);
    if (log_wanted) log_line("types off: %s", why);
}

static int compare_with_stock(PyObject *type) {
    unsigned long different = 0;
    checked_count++;
    if (types_check(type, &different) < 0) return -1;
    if (different) {
        mismatch_count++;
        PyObject *name = PyObject_GetAttrString(type, "__qualname__");
        const char *text = name && py_is_str(name) ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
        if (log_wanted) log_line("types mismatch: %s, %lu slots", text ? text : "?", different);
        Py_DecRef(name);
        PyErr_Clear();
    }
    return 0;
}

/* type_new_init_subclass has begun: `type` is complete, but for its slots. 0, or -1 with an exception. */
static int at_super(PyObject *type) {
    struct Window *w = window;
    if (!w) return 0; /* by somebody who kept the hook */
    close_window();
    if (py_type(type) != w->meta) { /* cannot be: nobody else runs */
        types_off("super() was called while a class was made");
        return 0;
    }
    Slots slots;
    if (!slots_predict(type, &slots)) {
        w->odd = py_new_ref(type);
        PyErr_SetNone(odd_class);
        return -1;
    }
#ifdef PYCDS_TYPES_SABOTAGE /* for the tests: what a fault of ours would be */
    slots.values[facts.hash_group] = NULL;
#endif
    for (uint32_t g = 0; g < slot_table.group_count; g++) *type_slot(type, g) = slots.values[g];
    w->finished = 1;
    return mode == CHECK ? compare_with_stock(type) : 0;
}

static PyObject *hooked_super_new(PyObject *type, PyObject *args, PyObject *keywords) {
    return at_super(PyTuple_GetItem(args, 0)) < 0 ? NULL : super_new(type, args, keywords);
}

static PyObject *hooked_super_call(PyObject *callable, PyObject *const *args, size_t flags, PyObject *names) {
    return at_super(args[0]) < 0 ? NULL : super_call(callable, args, flags, names);
}

static PyObject *make_in_window(PyObject *meta, PyObject *args, PyObject *keywords) {
    struct Window w = {.meta = meta};
    open_window(&w);
    PyObject *type = facts.stock_new(meta, args, keywords);
    if (window) close_window(); /* an exception came before super() */
    if (w.odd) {
        /* Nobody has seen it: it goes, and stock makes one. */
        PyErr_Clear();
        types_dispose(w.odd);
        anew_count++;
        return facts.stock_new(meta, args, keywords);
    }
    if (type && !w.finished) {
        types_off("type.__new__ does not call super()");
        Py_DecRef(type);
        return facts.stock_new(meta, args, keywords);
    }
    fast_count += type != NULL;
    return type;
}

/* ---- in the place of type_new ------------------------------------------------------------------------ */

/*
 * A name looked up in a class with other keys than strings may run their code, and type_new looks
 * __set_name__ up in the types of what stands in a class: with such a class about there are windows no more.
 */
static PyObject *made_by_stock(PyObject *type) {
    PyObject *dict = type && is_type(type) ? dict_of(type) : NULL, *key;
    for (Py_ssize_t position = 0; dict && PyDict_Next(dict, &position, &key, NULL);) {
        if (py_is_str(key)) continue;
        types_off("a class has keys that are no strings");
        break;
    }
    return type;
}

/* In the place of type_new. */
static PyObject *make(PyObject *meta, PyObject *args, PyObject *keywords) {
    if (mode == STOCK) return facts.stock_new(meta, args, keywords);
    if (are_several_interpreters()) {
        by_stock[RULE_interpreters]++;
        return facts.stock_new(meta, args, keywords);
    }
    if (window) { /* cannot be */
        close_window();
        types_off("a class was made while another one was");
        return facts.stock_new(meta, args, keywords);
    }
    const enum Rule rule = rule_for(meta, args);
    if (rule == ELIGIBLE && mode != STOCK) return make_in_window(meta, args, keywords);
    by_stock[rule]++;
    return made_by_stock(facts.stock_new(meta, args, keywords));
}

PyObject *types_make(PyObject *meta, PyObject *args, PyObject *keywords, int fast) {
    if (!fast) return facts.stock_new(meta, args, keywords);
    return rule_for(meta, args) == ELIGIBLE ? make_in_window(meta, args, keywords) : NULL;
}

/* ---- installation -------------------------------------------------------------------------------------- */

/* Metaclasses have a copy of type's tp_new; type.__new__ refuses one that has another (tp_new_wrapper). */
static int replace_new(PyObject *meta, New from, New to) {
    New now;
    memcpy(&now, type_field(meta, facts.abi->class_new), sizeof now);
    if (now == from) put(meta, facts.abi->class_new, &to, sizeof to);
    PyObject *name = PyUnicode_InternFromString("__subclasses__"), *list = name ? PyObject_CallMethodObjArgs(&PyType_Type, name, meta, NULL) : NULL;
    int result = list ? 0 : -1;
    for (Py_ssize_t i = 0; list && result == 0 && i < PyList_Size(list); i++) result = replace_new(PyList_GetItem(list, i), from, to);
    Py_DecRef(name);
    Py_DecRef(list);
    return result;
}

static int find_hooks(char why[PYCDS_WHY]) {
    memcpy(&super_new, type_field(&PySuper_Type, facts.abi->class_new), sizeof super_new);
    memcpy(&super_call, type_field(&PySuper_Type, facts.abi->class_vectorcall), sizeof super_call);
    odd_class = PyExc_SystemError;
    if (facts.type_dict) return 0; /* from 3.12 on the collector waits for the evaluation loop; in 3.11 an allocation may bring it */
    *(void **)&collector_off = dlsym(RTLD_DEFAULT, "PyGC_Disable");
    *(void **)&collector_on = dlsym(RTLD_DEFAULT, "PyGC_Enable");
    return collector_off && collector_on ? 0 : refuse(why, "no PyGC_Disable");
}

static int install(enum Mode wanted, char why[PYCDS_WHY]) {
    if (facts.abi->class_wrapper_base == PYCDS_NONE) return refuse(why, "not on this Python version");
    if (rules_find(why) < 0 || find_hooks(why) < 0 || slots_find_values(why) < 0) return -1;
    if (are_several_interpreters()) return refuse(why, "there are several interpreters");
    #if !defined(PYCDS_TYPES_SABOTAGE) || PYCDS_TYPES_SABOTAGE < 2
    const int tested = types_self_test(why);
    fast_count = anew_count = 0;
    if (tested < 0) return -1;
#endif
    mode = wanted;
    if (replace_new(&PyType_Type, facts.stock_new, make) == 0) return 0;
    mode = STOCK;
    PyErr_Clear();
    if (replace_new(&PyType_Type, make, facts.stock_new) < 0) PyErr_Clear();
    return refuse(why, "the metaclasses could not be listed");
}

void types_init(void) {
    const char *wish = getenv("PYCDS_TYPES");
    if (!wish || !wish[0] || strcasecmp(wish, "stock") == 0) return;
    const enum Mode wanted = strcasecmp(wish, "fast") == 0 ? FAST : strcasecmp(wish, "check") == 0 ? CHECK : STOCK;
    facts.abi = state.layers[0].abi; /* every layer was compared with this interpreter */
    char why[PYCDS_WHY] = "PYCDS_TYPES is none of fast, check and stock";
    if (wanted != STOCK && install(wanted, why) == 0) {
        off_reason[0] = '\0';
        return;
    }
    PyErr_Clear();
    snprintf(off_reason, sizeof off_reason, "%s", why);
    if (log_wanted) log_line("types off: %s", why);
}

void types_stop(void) { mode = STOCK; }

void types_log(void) {
    if (!log_wanted || facts.stock_new == NULL) return;
    unsigned long all = 0;
    for (size_t i = 0; i < RULE_COUNT; i++) all += by_stock[i];
    log_line("types fast=%lu stock=%lu anew=%lu checked=%lu mismatches=%lu", fast_count, all, anew_count, checked_count, mismatch_count);
}

/* {rule: count}, of those that stock made. New reference or NULL. */
static PyObject *rule_counts(void) {
    PyObject *counts = PyDict_New();
    for (size_t i = ELIGIBLE + 1; counts && i < RULE_COUNT; i++) {
        PyObject *count = by_stock[i] ? PyLong_FromUnsignedLong(by_stock[i]) : NULL;
        if (count ? PyDict_SetItemString(counts, rule_names[i], count) < 0 : PyErr_Occurred() != NULL) {
            Py_DecRef(counts);
            counts = NULL;
        }
        Py_DecRef(count);
    }
    return counts;
}

PyObject *types_status(void) {
    static const char *const modes[] = {"stock", "fast", "check"};
    const struct {
        const char *name;
        PyObject *value;
    } rows[] = {
        {"mode", PyUnicode_FromString(modes[mode])},
        {"reason", mode == STOCK ? PyUnicode_FromString(off_reason) : py_new_ref(PY_NONE)},
        {"fast", PyLong_FromUnsignedLong(fast_count)},
        {"anew", PyLong_FromUnsignedLong(anew_count)},
        {"stock", rule_counts()},
        {"checked", PyLong_FromUnsignedLong(checked_count)},
        {"mismatches", PyLong_FromUnsignedLong(mismatch_count)},
    };
    PyObject *status = PyDict_New();
    int result = status ? 0 : -1;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!rows[i].value || (result == 0 && PyDict_SetItemString(status, rows[i].name, rows[i].value) < 0)) result = -1;
        Py_DecRef(rows[i].value);
    }
    if (result == 0) return status;
    Py_DecRef(status);
    return NULL;
}
