/** The suites of other people's packages, and which part of each is run. */

export interface Suite {
  /** Package as PyPI and requirements.txt name it. */
  readonly name: string;
  /** Its top-level module: the archive must have served modules of it, or the run proves nothing. */
  readonly module: string;
  /** Where its tests are: in the source package of the pinned version, or in what is installed. */
  readonly from: "sdist" | "installed";
  /** Arguments of pytest, relative to the source package's folder for `sdist`. */
  readonly args: readonly string[];
  /** `lib/PACKAGE` of the source package becomes a link to the installed one (SQLAlchemy's conftest reads files there). */
  readonly linkLibrary?: true;
}

export const suites: readonly Suite[] = [
  { name: "attrs", module: "attr", from: "sdist", args: ["tests"] },
  { name: "click", module: "click", from: "sdist", args: ["tests"] },
  { name: "jinja2", module: "jinja2", from: "sdist", args: ["tests"] },
  { name: "pluggy", module: "pluggy", from: "sdist", args: ["testing"] },
  { name: "packaging", module: "packaging", from: "sdist", args: ["tests"] },
  { name: "pyparsing", module: "pyparsing", from: "sdist", args: ["tests"] },
  { name: "sqlalchemy", module: "sqlalchemy", from: "sdist", args: ["test/base", "test/engine", "test/sql/test_select.py", "test/sql/test_compiler.py", "test/sql/test_types.py", "test/orm/test_mapper.py", "test/ext/declarative"], linkLibrary: true },
  { name: "networkx", module: "networkx", from: "installed", args: ["--pyargs", "networkx.classes", "networkx.generators", "networkx.utils"] },
  { name: "sympy", module: "sympy", from: "installed", args: ["--pyargs", "sympy.core", "sympy.printing", "sympy.parsing"] },
  { name: "numpy", module: "numpy", from: "installed", args: ["--pyargs", "numpy._core.tests.test_dtype", "numpy._core.tests.test_scalarmath", "numpy._core.tests.test_arrayprint", "numpy.lib", "numpy.polynomial", "numpy.ma", "numpy.random.tests.test_generator_mt19937"] },
  { name: "pandas", module: "pandas", from: "installed", args: ["--pyargs", "pandas.tests.series.methods", "pandas.tests.dtypes", "pandas.tests.indexes.base_class", "pandas.tests.io.formats"] },
];
