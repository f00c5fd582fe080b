/*
 * Initialises and finalises Python three times in one process, as embedders do:
 *   embed PYTHON CODE     PYTHON: whose prefix and site-packages count
 */
#include <Python.h>

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    for (int life = 0; life < 3; life++) {
        PyConfig config;
        PyConfig_InitPythonConfig(&config);
        PyStatus status = PyConfig_SetBytesString(&config, &config.program_name, argv[1]);
        if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
        PyConfig_Clear(&config);
        if (PyStatus_Exception(status)) Py_ExitStatusException(status);
        if (PyRun_SimpleString(argv[2]) != 0) return 1;
        PyThreadState *own = PyThreadState_Get(), *inner = Py_NewInterpreter();
        if (inner == NULL || PyRun_SimpleString(argv[2]) != 0) return 1;
        Py_EndInterpreter(inner);
        PyThreadState_Swap(own);
        if (Py_FinalizeEx() < 0) return 120;
    }
    return 0;
}
