/*
 * Specs, loaders and modules exactly as stock makes them: the same types, the
 * same attributes in the same order (spec_from_file_location in
 * importlib/_bootstrap_external.py; module_from_spec and _init_module_attrs in
 * importlib/_bootstrap.py).
 */
#define _GNU_SOURCE
#include "places.h"
#include "state.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

int cached_text(const Found *found, char *buffer, size_t size) {
    const Archive *archive = found->archive;
    size_t length;
    int n = snprintf(buffer, size, "%s/__pycache__/%s%s", place_path(archive, found->folder, &length),
                     archive_string(archive, found->file->name), state.cached_suffix);
    return n < 0 || (size_t)n >= size ? -1 : n;
}

/* The same as a new reference; NULL on error. */
static PyObject *cached_path(const Found *found) {
    char buffer[PATH_MAX];
    int n = cached_text(found, buffer, sizeof buffer);
    if (n < 0) return PyErr_NoMemory();
    return PyUnicode_FromStringAndSize(buffer, n);
}

PyObject *spec_for_file(const Found *found, PyObject *name, PyObject *path, PyObject **loader_out) {
    uint32_t kind = found->archive->suffixes[found->file->suffix].loader;
    PyObject *loader_class = kind == PYCDS_SUFFIX_SOURCE ? state.source_loader : kind == PYCDS_SUFFIX_EXTENSION ? state.extension_loader : state.sourceless_loader;
    PyObject *spec = NULL, *cached = NULL, *locations = NULL;
    PyObject *loader = PyObject_CallFunctionObjArgs(loader_class, name, path, NULL);
    if (!loader) return NULL;
    spec = PyObject_CallFunctionObjArgs(state.module_spec, name, loader, NULL);
    if (!spec) goto fail;
    if (PyObject_SetAttr(spec, state.n_origin, path) < 0) goto fail;
    if (PyObject_SetAttr(spec, state.n__set_fileattr, PY_TRUE) < 0) goto fail;
    if (found->is_package) {
        size_t length;
        const char *folder = place_path(found->archive, found->folder, &length);
        PyObject *base = PyUnicode_FromStringAndSize(folder, (Py_ssize_t)length);
        if (!base) goto fail;
        locations = PyList_New(1);
        if (!locations || PyList_SetItem(locations, 0, base) < 0) goto fail;
        if (PyObject_SetAttr(spec, state.n_submodule_search_locations, locations) < 0) goto fail;
        Py_DecRef(locations);
        locations = NULL;
    }
    /* A source's __cached__ is computed by the property unless nothing but our own rule can decide it; 3.15 never asks for it. */
    if (kind == PYCDS_SUFFIX_SOURCE && state.forms.sets_cached) {
        PyObject *prefix = py_sys_get(state.n_pycache_prefix);
        Py_DecRef(prefix); /* compared only */
        if (!prefix || prefix == PY_NONE) {
            cached = cached_path(found);
            if (!cached || PyObject_SetAttr(spec, state.n__cached, cached) < 0) goto fail;
            Py_DecRef(cached);
        }
    }
    *loader_out = loader;
    return spec;
fail:
    Py_DecRef(cached);
    Py_DecRef(locations);
    Py_DecRef(spec);
    Py_DecRef(loader);
    return NULL;
}

/* spec.parent without the property: the name itself for a package, else all before its last dot. New reference. */
static PyObject *parent_of(PyObject *name, int is_package) {
    Py_ssize_t size;
    if (is_package) return py_new_ref(name);
    const char *text = PyUnicode_AsUTF8AndSize(name, &size);
    if (!text) return NULL;
    while (size > 0 && text[size - 1] != '.') size--;
    return PyUnicode_FromStringAndSize(text, size > 0 ? size - 1 : 0);
}

PyObject *module_for_spec(PyObject *spec, PyObject *loader, PyObject *name, PyObject *path, PyObject *locations) {
    PyObject *module = PyModule_NewObject(name), *parent = NULL, *cached = NULL;
    if (!module) return NULL;
    PyObject *dict = PyModule_GetDict(module);
    parent = parent_of(name, locations != NULL);
    if (!parent || !dict) goto fail;
    if (PyDict_SetItem(dict, state.n___loader__, loader) < 0) goto fail;
    if (PyDict_SetItem(dict, state.n___package__, parent) < 0) goto fail;
    if (PyDict_SetItem(dict, state.n___spec__, spec) < 0) goto fail;
    if (locations && PyDict_SetItem(dict, state.n___path__, locations) < 0) goto fail;
    if (PyDict_SetItem(dict, state.n___file__, path) < 0) goto fail;
    if (state.forms.sets_cached) {
        cached = PyObject_GetAttr(spec, state.n_cached);
        if (!cached) goto fail;
        if (cached != PY_NONE && PyDict_SetItem(dict, state.n___cached__, cached) < 0) goto fail;
        Py_DecRef(cached);
    }
    Py_DecRef(parent);
    return module;
fail:
    Py_DecRef(cached);
    Py_DecRef(parent);
    Py_DecRef(module);
    return NULL;
}
