/** The modules of CPython's suite that look closest at importing, code objects, tracing and start-up. */
export const testModules = [
  "test_import", "test_importlib", "test_runpy", "test_pkgutil", "test_zipimport", "test_inspect", "test_code",
  "test_marshal", "test_dis", "test_traceback", "test_linecache", "test_pdb", "test_bdb", "test_trace", "test_sys",
  "test_sys_settrace", "test_sys_setprofile", "test_monitoring", "test_gc", "test_weakref", "test_threading",
  "test_threaded_import", "test_fork1", "test_subprocess", "test_interpreters", "test_embed", "test_doctest",
  "test_unittest", "test_warnings", "test_cmd_line", "test_site", "test_venv", "test_faulthandler", "test_tracemalloc",
] as const;
