/**
 * The warm image of the restored arm: an interpreter whose memory already holds
 * the test runner and what most of the suite is about. Tests then run in modules
 * that were restored, not imported.
 *
 * The children that tests start by sys.executable are stock: that is the
 * interpreter's own path, as in every start of an image, and nearly all of them
 * are given options (-I, -X faulthandler), which an image refuses. What tests fork
 * is a fork of the restored process.
 */
import { must } from "./process.ts";

/** Modules of the standard library that every supported version has; none starts a thread or opens a file when it is imported. */
const library = [
  "abc argparse array ast asyncio atexit base64 bisect bz2 calendar cmath code codecs collections.abc concurrent.futures.process concurrent.futures.thread",
  "configparser contextlib contextvars copy csv ctypes.util dataclasses datetime decimal difflib dis doctest email.mime.multipart enum errno faulthandler fcntl",
  "fileinput fractions ftplib functools gc getpass gettext glob grp gzip hashlib heapq hmac html.parser http.client http.cookiejar http.server imaplib",
  "importlib.metadata importlib.resources inspect io ipaddress itertools json linecache locale logging.config logging.handlers lzma mailbox math mimetypes mmap",
  "multiprocessing.managers multiprocessing.pool multiprocessing.shared_memory numbers operator optparse pathlib pickle pickletools pkgutil platform plistlib",
  "poplib pprint profile pty pwd queue random re resource runpy sched secrets select selectors shelve shlex shutil signal smtplib socketserver sqlite3 ssl",
  "statistics string struct subprocess symtable sysconfig syslog tarfile tempfile termios textwrap threading timeit tokenize tomllib trace traceback",
  "tracemalloc tty typing unicodedata unittest.mock urllib.request uuid weakref wsgiref.simple_server xml.dom.minidom xml.etree.ElementTree xml.sax",
  "xmlrpc.client zipapp zipfile zlib zoneinfo",
].flatMap((line) => line.split(" "));

export const witnessName = "pycds_test_witness";

/**
 * Preloaded into the image. At the end of a process that was restored, and that did
 * not execute another program since, it writes the process's ID: the harness finds the
 * same one in what regrtest printed.
 */
export const witness = `import atexit, os

@atexit.register
def end(environ=os.environ, getpid=os.getpid, open=open):
    name = environ.get("PYCDS_TEST_WITNESS")
    if name is not None:
        with open(name, "a") as file:
            file.write("%d\\n" % getpid())
`;

/** Makes the image `file` of an interpreter, in the environment in which it will run: variables that imports read are part of its validity. */
export async function makeTestImage(pycds: readonly string[], exe: string, file: string, env: Readonly<Record<string, string>>): Promise<void> {
  await must([...pycds, "warm", "create", "--quiet", "--preload", [witnessName, "test.libregrtest.main", ...library].join(","), "-o", file, "--", exe], env);
}
