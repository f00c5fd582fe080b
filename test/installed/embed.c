/*
 * Initialises and finalises Python three times in one process, as embedders do:
 *   embed PYTHON CODE     PYTHON: whose prefix and site-packages count
 * Built without -fPIC too: the addresses of types that it takes are then constants,
 * so the dynamic linker moves those objects out of libpython into this program
 * (COPY relocations), and the others stay there.
 */
#include <Python.h>

/* 0 when these objects are what objects made by libpython have. */
static int strange_types(void) {
    PyObject *text = PyUnicode_FromString("text"), *code = Py_CompileString("f'{1}'", "<embed>", Py_eval_input);
    if (text == NULL || code == NULL) return 1;
    int strange = Py_TYPE(text) != &PyUnicode_Type || Py_TYPE(code) != &PyCode_Type || Py_TYPE(Py_None) == &PyTuple_Type || Py_TYPE(Py_True) != &PyBool_Type;
    Py_DECREF(text);
    Py_DECREF(code);
    return strange;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    for (int life = 0; life < 3; life++) {
        PyConfig config;
        PyConfig_InitPythonConfig(&config);
        PyStatus status = PyConfig_SetBytesString(&config, &config.program_name, argv[1]);
        if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
        PyConfig_Clear(&config);
        if (PyStatus_Exception(status)) Py_ExitStatusException(status);
        if (strange_types()) return 3;
        if (PyRun_SimpleString(argv[2]) != 0) return 1;
        PyThreadState *own = PyThreadState_Get(), *inner = Py_NewInterpreter();
        if (inner == NULL || PyRun_SimpleString(argv[2]) != 0) return 1;
        Py_EndInterpreter(inner);
        PyThreadState_Swap(own);
        if (Py_FinalizeEx() < 0) return 120;
    }
    return 0;
}
