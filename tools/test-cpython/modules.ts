/** The modules of CPython's suite that look closest at importing, code objects, tracing and start-up. */
export const testModules = [
  "test_import", "test_importlib", "test_runpy", "test_pkgutil", "test_zipimport", "test_inspect", "test_code",
  "test_marshal", "test_dis", "test_traceback", "test_linecache", "test_pdb", "test_bdb", "test_trace", "test_sys",
  "test_sys_settrace", "test_sys_setprofile", "test_monitoring", "test_gc", "test_weakref", "test_threading",
  "test_threaded_import", "test_fork1", "test_subprocess", "test_interpreters", "test_embed", "test_doctest",
  "test_unittest", "test_warnings", "test_cmd_line", "test_site", "test_venv", "test_faulthandler", "test_tracemalloc",
] as const;

/** The modules that look closest at classes. */
export const typesModules = [
  "test_descr", "test_class", "test_typing", "test_dataclasses", "test_enum", "test_abc", "test_functools", "test_collections", "test_exceptions", "test_super", "test_metaclass", "test_types",
  "test_subclassinit", "test_genericclass", "test_descrtut", "test_richcmp", "test_binop", "test_augassign", "test_slice", "test_type_params", "test_type_cache", "test_isinstance", "test_operator",
  "test_builtin", "test_contextlib", "test_pickle", "test_copy", "test_weakref", "test_gc", "test_inspect", "test_unittest",
] as const;

/** The modules that look closest at what a restore puts back: memory, threads, signals, files, clocks, randomness, C libraries; and the language itself. */
export const restoredModules = [
  // the process: signals, children, threads, terminals, files
  "test_os", "test_posix", "test_signal", "test_threadsignals", "test_fork1", "test_wait3", "test_wait4", "test_subprocess", "test_threading", "test_thread",
  "test_threading_local", "test_pty", "test_tty", "test_ioctl", "test_fcntl", "test_select", "test_selectors", "test_poll", "test_epoll", "test_resource",
  "test_faulthandler", "test_atexit", "test_sys", "test_mmap", "test_io", "test_fileio", "test_memoryio", "test_largefile", "test_tempfile", "test_eintr",
  // sockets, TLS, event loops, processes of one's own
  "test_socket", "test_ssl", "test_asyncio", "test_socketserver", "test_ftplib", "test_httplib", "test_httpservers", "test_urllib2_localnet", "test_concurrent_futures",
  "test_multiprocessing_fork", "test_multiprocessing_forkserver", "test_multiprocessing_spawn", "test_multiprocessing_main_handling", "test_queue",
  // randomness and clocks
  "test_random", "test_secrets", "test_uuid", "test_hash", "test_hashlib", "test_hmac", "test_time", "test_datetime", "test_locale", "test_zoneinfo",
  // C libraries and extension modules
  "test_ctypes", "test_sqlite3", "test_decimal", "test_zlib", "test_gzip", "test_bz2", "test_lzma", "test_pyexpat", "test_xml_etree_c", "test_unicodedata",
  "test_struct", "test_array", "test_capi", "test_curses", "test_readline", "test_dbm", "test_math", "test_codecs",
  // the interpreter: memory, collector, frames, imports, the language
  "test_gc", "test_weakref", "test_tracemalloc", "test_sys_settrace", "test_sys_setprofile", "test_monitoring", "test_traceback", "test_warnings", "test_exceptions",
  "test_exception_group", "test_import", "test_importlib", "test_runpy", "test_zipimport", "test_pkgutil", "test_marshal", "test_pickle", "test_copy", "test_descr", "test_dict",
  "test_set", "test_float", "test_int", "test_unicode", "test_str", "test_bytes", "test_generators", "test_coroutines", "test_asyncgen", "test_contextlib", "test_functools",
  "test_itertools", "test_deque", "test_re", "test_json", "test_typing", "test_dataclasses", "test_enum", "test_inspect", "test_logging", "test_print", "test_builtin", "test_unittest",
] as const;

/** Patterns of tests that are left out in every arm, each with its reason. */
export const leftOut: Readonly<Record<string, readonly { readonly pattern: string; readonly why: string }[]>> = {
  test_socket: [{ pattern: "*VSOCK*", why: "in a virtual machine it waits for ever for its host" }],
};
