/*
 * What CPython keeps of a start in its PyConfig: sub-interpreters take sys.argv and
 * sys.path[0] from it, and error messages whether a file hides another module
 * ("consider renaming …"). Its layout is not known here: while the image is built
 * CPython fills a scratch one, with values that are recognised, and their places are
 * remembered. Where that cannot be done nothing is written.
 */
#define _GNU_SOURCE
#include "warm.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "python.h"

/* Include/cpython/initconfig.h */
typedef struct {
    int type;
    const char *func;
    const char *message;
    int exitcode;
} Status;

enum { SCRATCH = 8192, LONGEST_MARK = 12 };

/* Exported, and the same from 3.11 to 3.14; what begins with an underscore is private, so all may be missing. */
static struct {
    void *(*live)(void);
    PyObject *(*as_dict)(const void *config);
    int (*from_dict)(void *config, PyObject *dict);
    void (*initialise)(void *config);
    void (*clear)(void *config);
    Status (*set_list)(void *config, void *list, Py_ssize_t length, wchar_t **items);
    Status (*set_string)(void *config, void *place, const wchar_t *text);
} api;

/* Offsets in PyConfig; 0: not there. */
static size_t argv_at, orig_argv_at, path_at;

static bool find_api(void) {
    const struct {
        const char *name;
        void *into;
    } symbols[] = {
        {"_Py_GetConfig", &api.live},           {"_PyConfig_AsDict", &api.as_dict},
        {"_PyConfig_FromDict", &api.from_dict}, {"PyConfig_InitPythonConfig", &api.initialise},
        {"PyConfig_Clear", &api.clear},         {"PyConfig_SetWideStringList", &api.set_list},
        {"PyConfig_SetString", &api.set_string},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *address = dlsym(RTLD_DEFAULT, symbols[i].name);
        if (address == NULL) return false;
        memcpy(symbols[i].into, &address, sizeof address);
    }
    return true;
}

/* Is there, at an address that may be none, this text? */
static bool text_is(int memory, uint64_t address, const wchar_t *mark) {
    wchar_t text[LONGEST_MARK];
    size_t size = (wcslen(mark) + 1) * sizeof *text;
    return address != 0 && size <= sizeof text && pread(memory, text, size, (off_t)address) == (ssize_t)size && memcmp(text, mark, size) == 0;
}

/* A PyWideStringList of one item: length, items. */
static bool list_is(int memory, const unsigned char *at, const wchar_t *mark) {
    uint64_t words[2], item = 0;
    memcpy(words, at, sizeof words);
    return words[0] == 1 && words[1] != 0 && pread(memory, &item, sizeof item, (off_t)words[1]) == sizeof item && text_is(memory, item, mark);
}

static bool set_item(PyObject *dict, const char *key, const char *format, const char *mark) {
    PyObject *value = Py_BuildValue(format, mark);
    bool set = value != NULL && PyDict_SetItemString(dict, key, value) == 0;
    Py_DecRef(value);
    return set;
}

static void find_places(unsigned char *scratch) {
    PyObject *dict = api.as_dict(api.live());
    if (dict == NULL) return;
    bool has_path = PyDict_GetItemString(dict, "sys_path_0") != NULL; /* since 3.13 */
    bool filled = set_item(dict, "argv", "[s]", "pycds argv") && set_item(dict, "orig_argv", "[s]", "pycds orig") &&
                  (!has_path || set_item(dict, "sys_path_0", "s", "pycds path")) && api.from_dict(scratch, dict) == 0;
    Py_DecRef(dict);
    int memory = filled ? open("/proc/self/mem", O_RDONLY | O_CLOEXEC) : -1;
    if (memory < 0) return;
    for (size_t at = 8; at + 16 <= SCRATCH; at += 8) {
        uint64_t word;
        memcpy(&word, scratch + at, sizeof word);
        if (list_is(memory, scratch + at, L"pycds argv")) argv_at = at;
        if (list_is(memory, scratch + at, L"pycds orig")) orig_argv_at = at;
        if (text_is(memory, word, L"pycds path")) path_at = at;
    }
    close(memory);
}

void config_find(void) {
    static _Alignas(16) unsigned char scratch[SCRATCH];
    if (!find_api()) return;
    api.initialise(scratch);
    find_places(scratch);
    if (PyErr_Occurred() != NULL) PyErr_Clear();
    api.clear(scratch);
    memset(scratch, 0, sizeof scratch); /* nothing of it in the image */
}

/* Sets one list to the texts of a Python list. */
static void write_list(unsigned char *config, size_t at, PyObject *list) {
    Py_ssize_t count = at == 0 ? 0 : PyList_Size(list);
    wchar_t **items = count <= 0 ? NULL : PyMem_Calloc((size_t)count, sizeof *items);
    if (items == NULL) return;
    bool whole = true;
    for (Py_ssize_t i = 0; i < count && whole; i++) whole = (items[i] = PyUnicode_AsWideCharString(PyList_GetItem(list, i), NULL)) != NULL;
    if (whole) (void)api.set_list(config, config + at, count, items); /* were memory to run out, the old value stays */
    for (Py_ssize_t i = 0; i < count; i++) PyMem_Free(items[i]);
    PyMem_Free(items);
}

/* configure(ARGV, ORIG_ARGV, PATH): lists of str; sys.path[0], or None where there is none. */
static PyObject *configure(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *argv, *orig_argv, *path;
    if (!PyArg_ParseTuple(arguments, "OOO", &argv, &orig_argv, &path)) return NULL;
    unsigned char *config = argv_at == 0 ? NULL : api.live();
    if (config != NULL) {
        write_list(config, argv_at, argv);
        write_list(config, orig_argv_at, orig_argv);
        wchar_t *text = path_at == 0 || path == &_Py_NoneStruct ? NULL : PyUnicode_AsWideCharString(path, NULL);
        if (text != NULL) (void)api.set_string(config, config + path_at, text);
        PyMem_Free(text);
    }
    PyErr_Clear();
    return Py_BuildValue("");
}

PyMethodDef *config_functions(void) {
    static PyMethodDef functions[] = {{"configure", configure, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
    return functions;
}
