/*
 * Records imports as JSON lines (src/trace/types.ts). Each line is appended
 * with one open/write/close: nothing is lost when the program is killed or
 * ends by os._exit, and no descriptor of ours is seen by it.
 */
#define _GNU_SOURCE
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

atomic_int trace_active;

static char *trace_path;
static PyObject *seen_entries; /* set of sys.path entries written; looked at and added to under imports_lock() */

/* A growing line; `bad` when memory ran out: the line is dropped. */
typedef struct Line {
    char *text;
    size_t used, capacity;
    int bad;
} Line;

static void put(Line *line, const char *text, size_t size) {
    if (line->used + size + 1 > line->capacity) {
        size_t grown = (line->used + size + 1) * 2;
        char *more = realloc(line->text, grown);
        if (!more) {
            line->bad = 1;
            return;
        }
        line->text = more;
        line->capacity = grown;
    }
    memcpy(line->text + line->used, text, size);
    line->used += size;
}

static void puts_line(Line *line, const char *text) { put(line, text, strlen(text)); }

/* A JSON string of a str object; null for None, for what is no str, and for text that UTF-8 cannot hold. */
static void put_str(Line *line, PyObject *object) {
    Py_ssize_t size = 0;
    const char *text = object && PyObject_IsInstance(object, &PyUnicode_Type) == 1 ? PyUnicode_AsUTF8AndSize(object, &size) : NULL;
    if (!text) {
        PyErr_Clear();
        puts_line(line, "null");
        return;
    }
    puts_line(line, "\"");
    for (Py_ssize_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        char escape[8];
        if (c == '"' || c == '\\') {
            snprintf(escape, sizeof escape, "\\%c", c);
            puts_line(line, escape);
        } else if (c < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", c);
            puts_line(line, escape);
        } else {
            put(line, text + i, 1);
        }
    }
    puts_line(line, "\"");
}

static void put_number(Line *line, PyObject *object) {
    char text[32];
    long long value = object ? PyLong_AsLongLong(object) : 0;
    if (PyErr_Occurred()) PyErr_Clear();
    snprintf(text, sizeof text, "%lld", value);
    puts_line(line, text);
}

/* A JSON array of the str items of any iterable. */
static void put_strs(Line *line, PyObject *iterable) {
    PyObject *iterator = iterable ? PyObject_GetIter(iterable) : NULL, *item;
    int first = 1;
    puts_line(line, "[");
    while (iterator && (item = PyIter_Next(iterator)) != NULL) {
        if (PyObject_IsInstance(item, &PyUnicode_Type) == 1) {
            if (!first) puts_line(line, ",");
            put_str(line, item);
            first = 0;
        }
        Py_DecRef(item);
    }
    PyErr_Clear();
    Py_DecRef(iterator);
    puts_line(line, "]");
}

/* Appends and frees the line. 0 or an errno. */
static int flush(Line *line) {
    int error = line->bad ? ENOMEM : 0;
    puts_line(line, "\n");
    if (!line->bad) {
        int fd = open(trace_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
        if (fd < 0) {
            error = errno;
        } else {
            size_t done = 0;
            while (done < line->used) {
                ssize_t n = write(fd, line->text + done, line->used - done);
                if (n < 0 && errno == EINTR) continue;
                if (n <= 0) {
                    error = n < 0 ? errno : EIO;
                    break;
                }
                done += (size_t)n;
            }
            close(fd);
        }
    }
    free(line->text);
    return error;
}

/* Imports must not notice us: errno and a pending exception stay. */
static void flush_quietly(Line *line) {
    int saved = errno;
    if (flush(line) != 0) trace_active = 0;
    errno = saved;
}

static const char *kind_of(PyObject *loader) {
    if (!loader || loader == PY_NONE) return "namespace";
    if (loader == state.builtin_importer) return "builtin";
    if (loader == state.frozen_importer) return "frozen";
    PyObject *type = py_type(loader);
    if (type == state.source_loader) return "source";
    if (type == state.sourceless_loader) return "sourceless";
    if (type == state.extension_loader) return "extension";
    PyObject *name = PyObject_GetAttr(type, state.n___name__);
    int namespace = name && py_is_str(name) && (PyUnicode_CompareWithASCIIString(name, "NamespaceLoader") == 0 || PyUnicode_CompareWithASCIIString(name, "_NamespaceLoader") == 0);
    if (!name) PyErr_Clear();
    Py_DecRef(name);
    return namespace ? "namespace" : "other";
}

void trace_spec(PyObject *name, PyObject *spec, int served) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Line line = {0};
    PyObject *loader = PyObject_GetAttr(spec, state.n_loader);
    if (!loader) PyErr_Clear();
    PyObject *origin = PyObject_GetAttr(spec, state.n_origin);
    if (!origin) PyErr_Clear();
    PyObject *located = PyObject_GetAttr(spec, state.n__set_fileattr);
    if (!located) PyErr_Clear();
    PyObject *locations = PyObject_GetAttr(spec, state.n_submodule_search_locations);
    if (!locations) PyErr_Clear();
    puts_line(&line, "{\"module\":");
    put_str(&line, name);
    puts_line(&line, ",\"kind\":\"");
    puts_line(&line, kind_of(loader));
    puts_line(&line, "\",\"file\":");
    put_str(&line, located == PY_TRUE ? origin : PY_NONE);
    puts_line(&line, ",\"path\":");
    if (locations && locations != PY_NONE) put_strs(&line, locations);
    else puts_line(&line, "null");
    puts_line(&line, served ? ",\"served\":true}" : ",\"served\":false}");
    Py_DecRef(loader);
    Py_DecRef(origin);
    Py_DecRef(located);
    Py_DecRef(locations);
    flush_quietly(&line);
    PyErr_Restore(type, value, traceback);
}

void trace_missing(PyObject *name) {
    Line line = {0};
    puts_line(&line, "{\"missing\":");
    put_str(&line, name);
    puts_line(&line, "}");
    flush_quietly(&line);
}

static void put_unsigned(Line *line, unsigned long value) {
    char text[32];
    snprintf(text, sizeof text, "%lu", value);
    puts_line(line, text);
}

void trace_source(uint32_t kind, uint32_t flags, const char *text, size_t size) {
    static const char *const modes[] = {"exec", "eval", "single"};
    PyObject *source = PyUnicode_FromStringAndSize(text, (Py_ssize_t)size);
    if (source) {
        Line line = {0};
        puts_line(&line, "{\"source\":");
        put_str(&line, source);
        puts_line(&line, ",\"mode\":\"");
        puts_line(&line, modes[kind - PYCDS_PURE_EXEC]);
        puts_line(&line, "\",\"flags\":");
        put_unsigned(&line, flags);
        puts_line(&line, "}");
        flush_quietly(&line);
    } else {
        PyErr_Clear();
    }
    Py_DecRef(source);
}

void trace_pattern(PyObject *pattern, uint32_t flags) {
    char *bytes;
    Py_ssize_t size;
    PyObject *text = NULL;
    if (py_is_str(pattern)) text = PyUnicode_AsUTF8AndSize(pattern, &size) ? py_new_ref(pattern) : NULL;
    else if (py_is_bytes(pattern) && PyBytes_AsStringAndSize(pattern, &bytes, &size) == 0) text = PyUnicode_DecodeLatin1(bytes, size, NULL);
    if (text) {
        Line line = {0};
        puts_line(&line, "{\"pattern\":");
        put_str(&line, text);
        puts_line(&line, py_is_bytes(pattern) ? ",\"bytes\":true,\"flags\":" : ",\"bytes\":false,\"flags\":");
        put_unsigned(&line, flags);
        puts_line(&line, "}");
        flush_quietly(&line);
    } else {
        PyErr_Clear();
    }
    Py_DecRef(text);
}

void trace_sys_path(void) {
    PyObject *path = py_sys_get(state.n_path), *entry;
    imports_lock();
    for (Py_ssize_t i = 0; path && py_is_list(path) && (entry = py_list_get(path, i)) != NULL; i++) {
        char cwd[PATH_MAX];
        PyObject *text;
        if (!py_is_str(entry)) text = NULL;
        else if (PyUnicode_GetLength(entry) == 0) text = getcwd(cwd, sizeof cwd) ? PyUnicode_DecodeFSDefault(cwd) : NULL; /* '' means the cwd at the time of the lookup */
        else text = py_new_ref(entry);
        if (text && PySet_Contains(seen_entries, text) == 0 && PySet_Add(seen_entries, text) == 0) {
            Line line = {0};
            puts_line(&line, "{\"sys_path_entry\":");
            put_str(&line, text);
            puts_line(&line, "}");
            flush_quietly(&line);
        }
        Py_DecRef(text);
        Py_DecRef(entry);
        PyErr_Clear();
    }
    imports_unlock();
    Py_DecRef(path);
}

static void put_field(Line *line, const char *key, const char *sys_name, int number) {
    puts_line(line, "\"");
    puts_line(line, key);
    puts_line(line, "\":");
    PyObject *value = PySys_GetObject(sys_name);
    if (number) put_number(line, value);
    else if (value) put_str(line, value);
    else puts_line(line, "\"\"");
    puts_line(line, ",");
}

static int trace_header(void) {
    Line line = {0};
    PyObject *implementation = PySys_GetObject("implementation"), *flags = PySys_GetObject("flags");
    PyObject *tag = implementation ? PyObject_GetAttrString(implementation, "cache_tag") : NULL;
    if (!tag) PyErr_Clear();
    PyObject *optimize = flags ? PyObject_GetAttrString(flags, "optimize") : NULL;
    if (!optimize) PyErr_Clear();
    puts_line(&line, "{\"pycds\":\"trace\",\"version\":1,\"python\":{");
    put_field(&line, "executable", "executable", 0);
    put_field(&line, "hexversion", "hexversion", 1);
    put_field(&line, "prefix", "prefix", 0);
    put_field(&line, "base_prefix", "base_prefix", 0);
    puts_line(&line, "\"cache_tag\":");
    put_str(&line, tag);
    puts_line(&line, ",\"optimize\":");
    put_number(&line, optimize);
    puts_line(&line, "},\"sys_path\":");
    put_strs(&line, PySys_GetObject("path"));
    puts_line(&line, "}");
    Py_DecRef(tag);
    Py_DecRef(optimize);
    return flush(&line);
}

/* Modules loaded before we came, in the order of sys.modules. */
static void trace_loaded(void) {
    PyObject *modules = PySys_GetObject("modules");
    PyObject *keys = modules ? PySequence_List(modules) : NULL;
    for (Py_ssize_t i = 0; keys && i < PyList_Size(keys); i++) {
        PyObject *name = PyList_GetItem(keys, i);
        PyObject *module = PyObject_GetItem(modules, name);
        PyObject *spec = module ? PyObject_GetAttr(module, state.n___spec__) : NULL;
        PyErr_Clear();
        if (spec && spec != PY_NONE && py_is_str(name)) trace_spec(name, spec, 0);
        Py_DecRef(spec);
        Py_DecRef(module);
    }
    Py_DecRef(keys);
    PyErr_Clear();
}

int trace_start(const char *path, char why[PYCDS_WHY]) {
    char cwd[PATH_MAX];
    seen_entries = PySet_New(NULL);
    /* The program may change its directory: keep the path absolute. */
    if (path[0] == '/') trace_path = strdup(path);
    else if (!getcwd(cwd, sizeof cwd) || asprintf(&trace_path, "%s/%s", cwd, path) < 0) trace_path = NULL;
    int error = trace_path && seen_entries ? trace_header() : ENOMEM;
    if (error) {
        PyErr_Clear();
        snprintf(why, PYCDS_WHY, "cannot write the trace %s: %s", path, strerror(error));
        return -1;
    }
    trace_active = 1;
    trace_sys_path();
    trace_loaded();
    return 0;
}
