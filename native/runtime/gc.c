/*
 * The cyclic collector, deferred while an outermost import runs (docs/gc.md, decision 20).
 *
 * Modules make little cyclic garbage and much that stays, so the collector's
 * visits during imports are nearly all for nothing. While an outermost import
 * runs, the first generation's threshold is raised, by a step at each import
 * within it and at most to a cap, so that a body that goes on (a server's) finds
 * its collector again: at its first visit deferral ends for good. When the import ends the threshold
 * is put back, and if stock would have collected at all by then, what is young
 * goes to the oldest generation with the counts that a full collection leaves,
 * which found no garbage.
 *
 * The state is CPython's `struct _gc_runtime_state`, whose layout is in the
 * archive's header. Where it lies is asked of the interpreter itself: a tuple just
 * made is the last of the first generation's list, so its header leads to the
 * list's head. Each word that is used has a witness before it is trusted (gc_init).
 *
 * Everything here runs with the GIL held and calls nothing that could release it
 * between looking at a word and changing it.
 */
#define _GNU_SOURCE
#include "state.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/*
 * Containers, net of those freed, that may wait for the collector in one import,
 * and in all imports of a process together (importing pandas leaves 57,000). Once it is
 * used up the collector is stock's for good.
 */
#define CAP 400000
/* Of these, for one body from its last import on. */
#define STEP 100000

typedef struct { /* PyGC_Head */
    uintptr_t next, previous;
} Head __attribute__((aligned(4))); /* where generations are packed, their heads are no better aligned */
#define FLAGS ((uintptr_t)3) /* low bits of `previous`: _PyGC_PREV_SHIFT, Include/internal/pycore_gc.h */

static char *collector;      /* of the main interpreter; NULL: it is stock's, for good */
static char *located;        /* where it lies, whoever's it is; NULL: unknown */
static const PycdsAbi *abi;
static uint32_t generations; /* offset in it: one of the two that abi names */
static int32_t cap;          /* what is left of CAP */
static int on;               /* the threshold is ours now */
static int32_t raised;       /* and this is it */
static PyObject *sentinel;   /* garbage that tells of the collector's visit; borrowed of itself */
static int32_t began;        /* collections of younger generations that the second one counted at that time */
static _Thread_local int mine; /* this thread's import raised it */

static int32_t *word(uint32_t offset) { return (int32_t *)(void *)(collector + offset); }
static char *generation(int i) { return collector + generations + (uint32_t)i * abi->gc_generation_size; }
static Head *head(int i) { return (Head *)(void *)generation(i); }
static int32_t *threshold(int i) { return (int32_t *)(void *)(generation(i) + abi->gc_threshold); }
static int32_t *count(int i) { return (int32_t *)(void *)(generation(i) + abi->gc_count); }
static int64_t *long_lived(uint32_t offset) { return (int64_t *)(void *)(collector + offset); }

/* ---- the words and their witnesses ------------------------------------------------------- */

static Head *next_of(const Head *h) { return (Head *)h->next; }
static Head *previous_of(const Head *h) { return (Head *)(h->previous & ~FLAGS); }

static int is_list(int i) {
    const Head *h = head(i);
    return next_of(h) && previous_of(h) && previous_of(next_of(h)) == h && next_of(previous_of(h)) == h;
}

/* A tuple too long for any free list (Objects/tupleobject.c), so that it is allocated and counted. */
static PyObject *sample(void) { return PyTuple_New(100); }

/* gc.callbacks: NULL before somebody imported gc (to 3.11), then a list. */
static int has_callbacks(void) {
    PyObject *callbacks;
    memcpy(&callbacks, collector + abi->gc_callbacks, sizeof callbacks);
    return callbacks && (!py_is_list(callbacks) || PyList_Size(callbacks) != 0);
}

/* `enabled` is what gc.enable() and gc.disable() of the C API change; they are there from 3.10 on. */
static int is_enabled_word(void) {
    int (*disable)(void), (*enable)(void);
    *(void **)&disable = dlsym(RTLD_DEFAULT, "PyGC_Disable");
    *(void **)&enable = dlsym(RTLD_DEFAULT, "PyGC_Enable");
    if (*word(abi->gc_enabled) != 1) return 0;
    if (!disable || !enable) return 1;
    disable();
    const int off = *word(abi->gc_enabled) == 0;
    enable();
    return off && *word(abi->gc_enabled) == 1;
}

/* Every word is what it is taken for: with two new tuples in the list, of which the last comes and goes. */
static int is_as_described(PyObject *first) {
    Head *one = (Head *)(void *)((char *)first - sizeof(Head));
    if (!one->next) return 0; /* not tracked */
    collector = (char *)next_of(one) - generations;
    if ((one->next & FLAGS) != 0 || *(Head **)(void *)(collector + abi->gc_generation0) != head(0)) return 0; /* 3.14.3's incremental collector is told apart here */
    for (int i = 0; i < 3; i++)
        if (!is_list(i) || *threshold(i) < 0 || *count(i) < 0) return 0;
    if (previous_of(head(0)) != one || *threshold(0) != (int32_t)abi->gc_initial_threshold) return 0;
    const int32_t before = *count(0);
    PyObject *second = sample();
    if (!second) return 0;
    Head *two = (Head *)(void *)((char *)second - sizeof(Head));
    const int linked = next_of(one) == two && previous_of(two) == one && next_of(two) == head(0) && previous_of(head(0)) == two && *count(0) == before + 1;
    Py_DecRef(second);
    return linked && next_of(one) == head(0) && *count(0) == before && *word(abi->gc_debug) == 0 && *word(abi->gc_collecting) == 0 && !has_callbacks() &&
           *long_lived(abi->gc_long_lived_total) >= 0 && *long_lived(abi->gc_long_lived_pending) >= 0 && is_enabled_word();
}

/* ---- user code that has to do with the collector --------------------------------------------- */

static void put_back(void) {
    if (on && *threshold(0) == raised) *threshold(0) = (int32_t)abi->gc_initial_threshold;
    on = 0;
}

static void drop_sentinel(void) {
    PyObject *list = py_new_ref(sentinel);
    sentinel = NULL;
    if (list) PyList_SetSlice(list, 0, PyList_Size(list), NULL);
    Py_DecRef(list);
}

/* From now on the collector is stock's. */
void gc_give_up(void) {
    if (!collector) return;
    put_back();
    collector = NULL;
    drop_sentinel();
}

static void sentinel_goes(PyObject *capsule) {
    (void)capsule;
    if (!sentinel) return; /* dropped by us */
    sentinel = NULL;
    gc_give_up();
}

/* A list that refers to itself, and to a capsule that is told when the collector takes it. Made while the threshold is raised, so that making it brings no collector. */
static int set_sentinel(void) {
    drop_sentinel(); /* a fork's child may have one still */
    PyObject *capsule = PyCapsule_New(&sentinel, NULL, sentinel_goes), *list = capsule ? PyList_New(2) : NULL;
    if (!list) {
        Py_DecRef(capsule);
        PyErr_Clear();
        return -1;
    }
    PyList_SetItem(list, 0, capsule);
    PyList_SetItem(list, 1, py_new_ref(list));
    sentinel = list;
    Py_DecRef(list);
    return 0;
}

/*
 * gc's functions, as they are once they are wrapped: the builtin's PyMethodDef is
 * replaced by a copy with another C function, so that identity, repr, name,
 * doc-string and signature stay. What changes or shows the collector's counts ends
 * the deferral for good; get_threshold sees stock's.
 */
typedef struct Wrapped {
    const char *name;
    PyMethodDef def;
    PyCFunction stock;
} Wrapped;

static Wrapped wrapped[] = {
    {.name = "collect"}, {.name = "enable"}, {.name = "disable"}, {.name = "set_threshold"}, {.name = "set_debug"}, {.name = "freeze"},
    {.name = "unfreeze"}, {.name = "get_count"}, {.name = "get_stats"}, {.name = "get_objects"}, {.name = "get_referrers"}, {.name = "get_threshold"},
};
enum { GET_THRESHOLD = 11, WRAPPED = sizeof wrapped / sizeof wrapped[0] };
static PyObject *wrapped_module; /* the gc module that is wrapped, borrowed: compared only */

/* Is the interpreter that calls the one that we defer for? */
static int is_main(void) { return PyInterpreterState_GetID(PyInterpreterState_Get()) == 0; }

static PyCFunction called(int i) {
    if (collector && is_main() && i != GET_THRESHOLD) gc_give_up();
    return wrapped[i].stock;
}

/* One set of C functions for each: they are told apart by nothing else. */
#define WRAPPER(i) \
    static PyObject *plain_##i(PyObject *self, PyObject *args) { return called(i)(self, args); } \
    static PyObject *fast_##i(PyObject *self, PyObject *const *args, Py_ssize_t n) { return ((PyCFunctionFast)(void (*)(void))called(i))(self, args, n); } \
    static PyObject *full_##i(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) { return ((PyCFunctionFastWithKeywords)(void (*)(void))called(i))(self, args, n, names); } \
    static PyObject *keys_##i(PyObject *self, PyObject *args, PyObject *keywords) { return ((PyCFunctionWithKeywords)(void (*)(void))called(i))(self, args, keywords); }
WRAPPER(0) WRAPPER(1) WRAPPER(2) WRAPPER(3) WRAPPER(4) WRAPPER(5) WRAPPER(6) WRAPPER(7) WRAPPER(8) WRAPPER(9) WRAPPER(10)

static PyObject *get_threshold(PyObject *self, PyObject *args) {
    const int ours = on && collector && is_main() && *threshold(0) == raised;
    if (ours) *threshold(0) = (int32_t)abi->gc_initial_threshold;
    PyObject *result = wrapped[GET_THRESHOLD].stock(self, args);
    if (ours && on && collector) *threshold(0) = raised;
    return result;
}

#define ROW(i) {plain_##i, (PyCFunction)(void (*)(void))fast_##i, (PyCFunction)(void (*)(void))full_##i, (PyCFunction)(void (*)(void))keys_##i}
static const PyCFunction wrappers[WRAPPED][4] = {ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8), ROW(9), ROW(10), {get_threshold, NULL, NULL, NULL}};

static PyCFunction wrapper_for(int i, int flags) {
    switch (flags) {
    case METH_NOARGS:
    case METH_O:
    case METH_VARARGS: return wrappers[i][0];
    case METH_FASTCALL: return wrappers[i][1];
    case METH_FASTCALL | METH_KEYWORDS: return wrappers[i][2];
    case METH_VARARGS | METH_KEYWORDS: return wrappers[i][3];
    default: return NULL;
    }
}

/* 0, or -1 when this is not the builtin that it should be; the function's own PyMethodDef stays as it is. */
static int wrap(int i, PyObject *function) {
    Wrapped *w = &wrapped[i];
    if (!function || !py_is(function, &PyCFunction_Type)) return -1;
    PyMethodDef **place = (PyMethodDef **)(void *)((char *)function + abi->cfunction_def);
    if ((*place)->ml_meth == w->def.ml_meth && w->def.ml_meth) return 0;
    /* Two witnesses of what lies there. */
    if ((*place)->ml_meth != PyCFunction_GetFunction(function) || (*place)->ml_flags != PyCFunction_GetFlags(function) || strcmp((*place)->ml_name, w->name) != 0) return -1;
    PyCFunction ours = wrapper_for(i, (*place)->ml_flags);
    if (!ours) return -1;
    w->def = **place;
    w->stock = w->def.ml_meth;
    w->def.ml_meth = ours;
    *place = &w->def;
    return 0;
}

void gc_module_imported(void) {
    if (!collector) return;
    PyObject *modules = PyImport_GetModuleDict();
    if (!modules || !py_is_dict(modules)) { /* looking into it would run code */
        gc_give_up();
        return;
    }
    PyObject *module = PyDict_GetItemWithError(modules, state.n_gc);
    if (!module || module == wrapped_module) return;
    PyObject *dict = py_is_module(module) ? PyModule_GetDict(module) : NULL;
    for (int i = 0; i < WRAPPED; i++) {
        if (!dict || wrap(i, PyDict_GetItemString(dict, wrapped[i].name)) < 0) {
            gc_give_up();
            return;
        }
    }
    wrapped_module = module;
}

/* ---- deferral -------------------------------------------------------------------------------------- */

/* In a fork's child the thread that raised the threshold may be gone. */
static void after_fork_in_child(void) {
    if (collector && on && !mine) put_back();
}

void gc_init(void) {
    const char *wish = getenv("PYCDS_GC");
    abi = state.layers[0].abi; /* every layer was compared with this interpreter */
    if ((wish && strcasecmp(wish, "stock") == 0) || abi->gc_generations == PYCDS_NONE || abi->gc_header_size != sizeof(Head)) return;
    /* Making a tuple may itself bring the collector (to 3.11), which moves what is young: hence more than one try with each. */
    for (int tries = 0; !collector && tries < 6; tries++) {
        PyObject *first = sample();
        generations = tries % 2 == 0 ? abi->gc_generations : abi->gc_packed_generations;
        if (!first || !is_as_described(first)) collector = NULL;
        Py_DecRef(first);
    }
    PyErr_Clear();
    if (!collector) return;
    located = collector;
    cap = CAP;
    if (pthread_atfork(NULL, NULL, after_fork_in_child) != 0) collector = NULL;
    else gc_module_imported();
}

/* The collector came during this import: the cap was reached, or a library asked for it. */
static int was_collected(void) { return *count(1) != began; }

static int32_t next_step(void) { return *count(0) < cap - STEP ? *count(0) + STEP : cap; }

int gc_defer(void) {
    if (!collector) return 0;
    if (on) {
        if (was_collected() || has_callbacks() || *threshold(0) != raised) gc_give_up();
        else if (raised < next_step()) *threshold(0) = raised = next_step();
        return 0;
    }
    /* PyUnicode-keyed lookup of an exact str in an exact dict: runs no code. */
    gc_module_imported();
    if (!collector) return 0;
    if (has_callbacks() || *threshold(0) != (int32_t)abi->gc_initial_threshold || *word(abi->gc_debug) != 0 || *threshold(0) >= cap) {
        gc_give_up();
        return 0;
    }
    if (*word(abi->gc_enabled) != 1 || *word(abi->gc_collecting) != 0) return 0;
    began = *count(1);
    *threshold(0) = raised = next_step();
    on = mine = 1;
    if (set_sentinel() < 0) gc_give_up();
    return 1;
}

/* Appends the list of a younger generation to the oldest one's (gc_list_merge of the collector). */
static void promote(int i) {
    Head *from = head(i), *to = head(2);
    if (next_of(from) == from) return;
    Head *first = next_of(from), *last = previous_of(from), *end = previous_of(to);
    end->next = (uintptr_t)first;
    first->previous = (uintptr_t)end | (first->previous & FLAGS);
    last->next = (uintptr_t)to;
    to->previous = (uintptr_t)last | (to->previous & FLAGS);
    from->next = from->previous = (uintptr_t)from;
}

void gc_resume(void) {
    mine = 0;
    if (!collector || !on) return;
    if (*threshold(0) != raised || was_collected() || has_callbacks()) {
        gc_give_up();
        return;
    }
    drop_sentinel();
    put_back();
    const int32_t young = *count(0);
    if (young <= *threshold(0) || *word(abi->gc_collecting) != 0) return;
    cap -= young < cap ? young : cap;
    promote(0);
    promote(1);
    *count(0) = *count(1) = *count(2) = 0;
    *long_lived(abi->gc_long_lived_total) += *long_lived(abi->gc_long_lived_pending) + young;
    *long_lived(abi->gc_long_lived_pending) = 0;
}

int gc_is_deferred(void) { return collector != NULL; }

/*
 * From both ends at once: each step waits for memory that only the step before told of, and so two of them wait together.
 * What the second finds comes last first.
 */
int gc_find_objects(int (*wanted)(PyObject *object, void *argument), void *argument, PyObject *found) {
    PyObject *later = located ? PyList_New(0) : NULL;
    if (!later) return -1;
    int failed = 0;
    for (int i = 3; i-- > 0 && !failed;) {
        const Head *list = (const Head *)(const void *)(located + generations + (uint32_t)i * abi->gc_generation_size);
        const Head *first = next_of(list), *last = previous_of(list);
        while (first != list) {
            PyObject *object = (PyObject *)(uintptr_t)(first + 1), *other = (PyObject *)(uintptr_t)(last + 1);
            if (wanted(object, argument)) failed |= PyList_Append(found, object) < 0;
            if (first == last) break;
            if (wanted(other, argument)) failed |= PyList_Append(later, other) < 0;
            const Head *next = next_of(first);
            if (next == last) break;
            first = next;
            last = previous_of(last);
        }
        for (Py_ssize_t left = PyList_Size(later); left-- > 0 && !failed;) failed |= PyList_Append(found, PyList_GetItem(later, left)) < 0;
        PyList_SetSlice(later, 0, PyList_Size(later), NULL);
    }
    Py_DecRef(later);
    return failed ? -1 : 0;
}
