/*
 * Results of pure functions, archived by their input: what re's compiler hands to
 * _sre.compile, and the code of source strings. An input is found by its
 * hash and compared whole, so a result is never another input's.
 */
#define _GNU_SOURCE
#include "pure.h"

#include <stdlib.h>
#include <string.h>

#include "xxh3.h"

unsigned long pure_sources_served, pure_patterns_served;

static int has_results(void) {
    for (uint32_t i = 0; i < state.layer_count; i++)
        if (state.layers[i].pure_count != 0) return 1;
    return 0;
}

static int on;
static PyInterpreterState *interpreter;

int pure_here(void) { return on && PyInterpreterState_Get() == interpreter; }

static const PycdsPure *find_in(Archive *a, uint64_t hash, uint32_t kind, uint32_t flags, const void *text, size_t size) {
    const uint32_t mask = a->pure_hash_size - 1;
    for (uint32_t slot = (uint32_t)hash & mask; a->pure_hash[slot] != 0; slot = (slot + 1) & mask) {
        const PycdsPure *p = &a->pures[a->pure_hash[slot] - 1];
        if (p->hash != hash || p->kind != kind || p->flags != flags || p->text_size != size) continue;
        if (archive_populate_pure(a, p) != 0) return NULL;
        if (memcmp(a->pure_data + p->text, text, size) == 0) return p;
    }
    return NULL;
}

PureFound pure_find(uint32_t kind, uint32_t flags, const void *text, size_t size) {
    const uint64_t mixed = ((uint64_t)kind << 32 | flags) * UINT64_C(0x9E3779B97F4A7C15);
    const uint64_t hash = has_results() ? (xxh3(text, size) ^ mixed) >> 7 : 0;
    for (uint32_t i = 0; i < state.layer_count; i++) {
        Archive *a = &state.layers[i];
        const PycdsPure *p = a->pure_count != 0 ? find_in(a, hash, kind, flags, text, size) : NULL;
        if (!p) continue;
        uint32_t *uses = &a->pure_uses[p - a->pures];
        if (kind <= PYCDS_PURE_BYTES_PATTERN || *uses < p->uses) return (PureFound){a, p, uses};
    }
    return (PureFound){NULL, NULL, NULL};
}

void pure_start(void) {
    const char *setting = getenv("PYCDS_PURE");
    if (setting && strcmp(setting, "off") == 0) return;
    /* Development mode looks every encoding up (Objects/unicodeobject.c, unicode_check_encoding_errors): re, which decodes, imports encodings.latin_1. */
    PyObject *flags = PySys_GetObject("flags"), *dev_mode = flags ? PyObject_GetAttrString(flags, "dev_mode") : NULL;
    const int development = dev_mode && PyObject_IsTrue(dev_mode) == 1;
    Py_DecRef(dev_mode);
    PyErr_Clear();
    if (development) return;
    if (PY_FREE_THREADED) return; /* the GIL guards what is counted and learnt here */
    if (!trace_active && !has_results()) return;
    interpreter = PyInterpreterState_Get();
    on = 1;
    pure_hook_prepare();
    pure_source_install();
    pure_regex_imported(NULL);
}

void pure_stop(void) { on = 0; }

void pure_log(void) {
    if (has_results()) log_line("pure sources=%lu patterns=%lu", pure_sources_served, pure_patterns_served);
}
