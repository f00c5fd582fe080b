/**
 * Programs about classes that must print the same whoever made them: stock, or
 * native/runtime/types.c (docs/types.md). `show(cls, ...)` says what each
 * operator does with an instance.
 */

/** Libraries of the cases. */
export const libraries: Readonly<Record<string, string>> = {
  "lib/show.py": `
import operator as o, re
from itertools import islice
OPS = {
    'repr': repr, 'str': str, 'hash': lambda x: hash(x) if type(x).__hash__ is not object.__hash__ else 'default', 'bool': bool, 'len': len,
    'iter': lambda x: list(islice(iter(x), 3)), 'next': next, 'call': lambda x: x(1, k=2), 'getitem': lambda x: x[1], 'setitem': lambda x: o.setitem(x, 1, 2),
    'delitem': lambda x: o.delitem(x, 1), 'contains': lambda x: 7 in x, 'add': lambda x: x + 1, 'radd': lambda x: 1 + x, 'iadd': lambda x: o.iadd(x, 1),
    'mul': lambda x: x * 2, 'rmul': lambda x: 2 * x, 'pow': lambda x: x ** 2, 'matmul': lambda x: x @ 1, 'eq': lambda x: x == 5, 'ne': lambda x: x != 5, 'lt': lambda x: x < 5,
    'ge': lambda x: x >= 5, 'attr': lambda x: x.missing, 'set': lambda x: setattr(x, 'a', 1), 'delete': lambda x: delattr(x, 'a'), 'neg': o.neg, 'abs': abs, 'int': int,
    'float': float, 'index': o.index, 'invert': o.invert, 'await': lambda x: x.__await__(), 'aiter': aiter, 'anext': anext, 'reversed': lambda x: list(islice(reversed(x), 3)),
    'concat': lambda x: o.concat(x, x), 'get': lambda x: type('H', (), {'__module__': 'h', 'd': x})().d is x, 'with': lambda x: x.__enter__(), 'format': lambda x: format(x, ''),
}
def clean(text): return re.sub(r'0x[0-9a-f]+', '0x', text)
def show(cls, *args, **kw):
    out = [cls.__qualname__, [c.__qualname__ for c in cls.__mro__], list(cls.__dict__), cls.__flags__ & ~(1 << 19), cls.__basicsize__, cls.__dictoffset__, cls.__weakrefoffset__]
    try: x = cls(*args, **kw)
    except Exception as e: print(out, 'new', type(e).__name__, clean(str(e))); return
    for name, op in OPS.items():
        try: out.append((name, clean(repr(op(x)))))
        except Exception as e: out.append((name, type(e).__name__, clean(str(e))))
    print(out)
`,
};

const dunders = [
  "__repr__", "__str__", "__hash__", "__bool__", "__len__", "__iter__", "__next__", "__call__", "__getitem__", "__setitem__", "__delitem__", "__contains__", "__add__", "__radd__",
  "__iadd__", "__mul__", "__rmul__", "__pow__", "__matmul__", "__eq__", "__ne__", "__lt__", "__getattr__", "__getattribute__", "__setattr__", "__delattr__", "__neg__", "__abs__", "__int__",
  "__float__", "__index__", "__invert__", "__await__", "__aiter__", "__anext__", "__get__", "__set__", "__del__", "__init__", "__new__", "__reversed__", "__init_subclass__",
];

/** Each of its lines is one class with one method, and a class below it; then pairs over two bases. */
const everyName = `
from show import show
made = {}
for name in ${JSON.stringify(dunders)}:
    def f(self, *args, name=name, **kw):
        if name == '__new__': return object.__new__(self)
        if name == '__getitem__': raise IndexError('i')
        if name in ('__init__', '__del__', '__init_subclass__', '__setattr__', '__delattr__', '__set__'): return None
        return {'__repr__': 'R', '__str__': 'S', '__hash__': 3, '__bool__': False, '__len__': 0, '__int__': 1, '__float__': 1.0, '__index__': 1, '__iter__': iter(())}.get(name, NotImplemented if name in ('__eq__', '__ne__', '__lt__') else name)
    class C:
        locals()[name] = f
    class D(C): pass
    class E(D):
        def __len__(self): return 4
    class X(D, ValueError): pass
    made[name] = C
    for cls in (C, D, E, X): show(cls)
names = list(made)
for a, b in zip(names, names[1:] + names[:1]):
    class P(made[a], made[b]): pass
    class Q(P):
        def __eq__(self, other): return True
    show(P); show(Q)
`;

export const cases: readonly (readonly [string, string])[] = [
  ["every method by itself, inherited, and of two bases", everyName],
  ["no hash, hash back, hash from a second base", `
from show import show
class A:
    def __eq__(self, o): return True
class B(A): pass
class C(A): __hash__ = object.__hash__
class D(B):
    def __hash__(self): return 9
class M: __hash__ = None
class N(C, M): pass
class O(M, D): pass
class P(Exception, M): pass
for c in (A, B, C, D, N, O, P): show(c)
`],
  ["borrowed methods: wrappers, builtins, other descriptors, None", `
from show import show
import functools
class G:
    def __get__(self, obj, cls=None): return lambda *a, **k: 'got'
class A: __repr__ = object.__repr__; __str__ = object.__repr__
class B: __len__ = list.__len__; __contains__ = dict.__contains__; __getitem__ = str.__getitem__
class C: __iter__ = None; __contains__ = None; __len__ = G(); __call__ = functools.partialmethod(print, 1); __add__ = len
class D(C): __eq__ = dict.__eq__
class E(A, C): __new__ = object.__new__
class F(B, D): __new__ = staticmethod(lambda cls: object.__new__(cls))
for c in (A, B, C, D, E, F): show(c)
`],
  ["exceptions", `
from show import show
import pickle
class A(Exception):
    def __init__(self, *a): super().__init__('a', *a)
class B(A, KeyError):
    def __str__(self): return 'B!'
class C(OSError, ValueError): pass
class D(C, A): pass
class E(StopIteration): pass
class F(SystemExit, LookupError): pass
class G(UnicodeDecodeError): pass
class I(BaseException): __slots__ = ()
for c in (A, B, C, E, F, I): show(c)
try: class_ = type('Bad', (C, StopIteration), {'__module__': 'm'})
except TypeError as e: print(e)
for c in (A, B, C, D):
    try: raise c(2, 'x')
    except Exception as e: print(repr(e), str(e), e.args, isinstance(e, A))
print(C(2, 'no').errno, type(pickle.loads(pickle.dumps(A(1)))).__mro__ if __name__ != '__main__' else '')
`],
  ["slots", `
from show import show
class A: __slots__ = ('a', '__weakref__')
class B(A): __slots__ = 'b'
class C(B): __slots__ = ['__x', '__dict__']
class D(A): __slots__ = {'d': 'documented'}
class E(D): __slots__ = iter(('e',))
class F: __slots__ = ('__call__', '__len__')
for c in (A, B, C, D, E, F): show(c)
import sys
print([sys.getsizeof(c) > 0 for c in (A, B)], sys.getsizeof(A()), sys.getsizeof(C()), C.__slots__, sorted(vars(C)))
for slots in (('a', 'a'), ('1',), (1,), ('__dict__', '__dict__'), 5):
    try: print(type('S', (), {'__module__': 'm', '__slots__': slots}).__slots__)
    except Exception as e: print(type(e).__name__, e)
try:
    class Z:
        __slots__ = ('x',)
        x = 1
except ValueError as e: print(e)
`],
  ["__init_subclass__, __set_name__ and what they see", `
from show import show
log = []
class N:
    def __set_name__(self, owner, name): log.append((owner.__name__, name, owner(), len(owner()) if hasattr(owner, '__len__') else None))
class Base:
    def __init_subclass__(cls, /, tag=None, **kw):
        super().__init_subclass__(**kw)
        class Nested:
            def __len__(self): return 8
        log.append((cls.__name__, tag, len(Nested()), str(cls()), len(cls())))
        cls.late = type('Late', (), {'__module__': 'm', '__len__': lambda s: 2})()
        cls.__add__ = lambda s, o: 'added'
    def __len__(self): return 1
    def __repr__(self): return 'base'
class A(Base, tag='a'):
    def __len__(self): return 5
    def __str__(self): return 'A'
class B(A): n = N()
print([l if len(l) == 5 else (l[0], l[1], l[3]) for l in log], len(A.late), A() + 1, B() + 1)
try:
    class C(Base, wrong=1): pass
except TypeError as e: print(e)
class D:
    def __init_subclass__(cls): raise ValueError('no ' + cls.__name__)
for i in range(3):
    try:
        class E(D): pass
    except ValueError as e: print(e, [c.__name__ for c in D.__subclasses__()])
class F:
    def __len__(self): return 6
show(F)
`],
  ["metaclasses", `
from show import show
import abc, enum, types
class Meta(type):
    def __len__(cls): return len(cls.__name__)
    def __call__(cls, *a): return super().__call__(*a)
    def __prepare__(name, bases, **kw): return {'prepared': name}
    def __new__(mcs, name, bases, ns, **kw):
        class Helper:
            def __len__(self): return 9
        ns['helper'] = len(Helper())
        attrs = {k: v for k, v in ns.items() if not hasattr(v, 'contribute')}
        cls = super().__new__(mcs, name, bases, attrs, **kw)
        for k, v in ns.items():
            if hasattr(v, 'contribute'): v.contribute(cls, k)
        return cls
    def __init__(cls, *a, **kw): cls.inited = True
class Field:
    def contribute(self, cls, name): setattr(cls, name + '_set', 1)
class Model(metaclass=Meta):
    f = Field()
    def __str__(self): return 'model'
class Sub(Model):
    g = Field()
    def __eq__(self, o): return NotImplemented
print(len(Model), len(Sub), Model.f_set, Sub.g_set, Sub.helper, Sub.inited, Sub.prepared); show(Model); show(Sub)
class Abstract(abc.ABC):
    @abc.abstractmethod
    def f(self): pass
    def __len__(self): return 3
class Concrete(Abstract):
    def f(self): return 1
    def __getitem__(self, i): return i
show(Abstract); show(Concrete); print(isinstance(Concrete(), Abstract), Abstract.__abstractmethods__)
class Color(enum.Enum):
    RED = 1
    def __str__(self): return 'color'
class Flag(enum.IntFlag): A = 1; B = 2
print(list(Color), str(Color.RED), Flag.A | Flag.B, Color['RED'], type(Color).__mro__)
class WithMro(type):
    def mro(cls): return [cls, *super().mro()[1:]]
class W(metaclass=WithMro):
    def __len__(self): return 2
show(W)
class Weird(type):
    def __getattribute__(cls, name):
        class T:
            def __len__(self): return 5
        seen.append(len(T()))
        return super().__getattribute__(name)
seen = []
class W1(metaclass=Weird): pass
class W2(W1): pass
try:
    class W3(W1, W2): pass
except TypeError as e: print(e)
print(set(seen))
class M2(Meta): pass
class M3(Meta): pass
try:
    class Conflict(Model, metaclass=M2): pass
    class Conflict2(Conflict, types.new_class('Other', (), {'metaclass': M3})): pass
except TypeError as e: print(e)
print(type.__new__(M2, 'T', (Sub,), {}).__mro__[1:], M2('U', (), {})().__class__.__name__, type('V', (Sub,), {}).__class__)
class Raises(type):
    def __new__(m, n, b, d): raise KeyError(n)
try:
    class R(metaclass=Raises): pass
except KeyError as e: print(e)
def made(*a): return a[0]
class NoClass(metaclass=made): pass
print(NoClass)
`],
  ["what does not become a class", `
for args in (('A', (int, str), {}), ('A', (1,), {}), ('A', (bool,), {}), (1, (), {}), ('A', [], {}), ('A', (), []), ('A', (object, object), {}), ('A\\0', (), {}), ('A', (), {'__qualname__': 1}), ('A', (), {'__classcell__': 1}),
             ('A', (), {'__classcell__': type('K', (type,), {'__repr__': lambda c: 'odd'})('I', (), {})()}), ('A', (), {'__slots__': ('__dict__', '__dict__')}), ('A', (), {'__module__': 'm', '__qualname__': 1})):
    try: print(type(*args))
    except Exception as e: print(type(e).__name__, e)
class X: pass
class Y(X): pass
try:
    class Z(X, Y): pass
except TypeError as e: print(e)
for i in range(2):
    class Fine:
        def __len__(self): return 3
print(len(Fine()), len(object.__subclasses__()) > 10, [c for c in object.__subclasses__() if c.__module__ in ('pycds', '__module__')], [c.__name__ for c in object.__subclasses__() if 'pycds' in c.__name__])
`],
  ["methods that come later, on a class and on its bases", `
from show import show
class A: pass
class B(A): pass
class C(B):
    def __repr__(self): return 'C'
class M: pass
class D(C, M): pass
for step in ("A.__len__ = lambda s: 1", "A.__call__ = lambda s, *a, **k: 'called'", "A.__getattr__ = lambda s, n: 'attr ' + n", "M.__len__ = lambda s: 2", "C.__len__ = lambda s: 3", "del A.__len__", "del C.__repr__",
             "M.__eq__ = lambda s, o: 'eq'", "B.__hash__ = None", "del B.__hash__", "A.__getattribute__ = lambda s, n: object.__getattribute__(s, n)", "del A.__getattr__", "B.__iter__ = lambda s: iter('b')", "B.__new__ = lambda c: object.__new__(c)", "A.__setattr__ = lambda s, n, v: None"):
    exec(step)
    print(step)
    for c in (A, B, C, D): show(c)
class E(A): pass
show(E)
class F(A): pass
D.__bases__ = (F, M)
show(D)
`],
  ["a base whose attribute function became quicker", `
from show import show
class A:
    def __getattribute__(self, name): return object.__getattribute__(self, name)
A().__class__; A().__class__
class B(A): pass
class C(B):
    def __getattr__(self, name): return 'C ' + name
class D(B): pass
D.__getattr__ = lambda self, name: 'D ' + name
B.__getattr__ = lambda self, name: 'B ' + name
for c in (A, B, C, D): show(c)
`],
  ["generics, protocols, dataclasses, named tuples, typed dicts", `
from show import show
import dataclasses, typing, collections
T = typing.TypeVar('T')
class G(typing.Generic[T]):
    def __len__(self): return 1
class H(G[int]):
    def __iter__(self): return iter((1,))
class P(typing.Protocol):
    def f(self): ...
@typing.runtime_checkable
class Q(P, typing.Protocol):
    def __len__(self): ...
@dataclasses.dataclass(order=True)
class D:
    a: int = 1
    b: list = dataclasses.field(default_factory=list)
@dataclasses.dataclass(frozen=True, slots=True)
class E(D if False else object):
    a: int = 1
    def me(self): return __class__
@dataclasses.dataclass
class F(D):
    c: str = 'c'
class N(typing.NamedTuple):
    x: int
    y: int = 2
class TD(typing.TypedDict): k: int
class L(list):
    def __radd__(self, o): return 'radd'
    def __len__(self): return 77
class S(str): __slots__ = ()
class I(int):
    def __add__(self, o): return 'add'
class O(collections.OrderedDict):
    def __missing__(self, k): return k
class U(collections.UserDict): pass
class Dq(dict, metaclass=type): pass
for c, *a in ((G,), (H,), (D,), (E,), (F,), (N, 1), (L,), (S, 's'), (I, 3), (O,), (U,), (Dq,)): show(c, *a)
print(D(1) < D(2), E().me() is E, E(), isinstance(G(), Q), N(1)._replace(y=5), H.__orig_bases__, TD(k=1), H.__parameters__)
`],
  ["cells: super(), __class__, a namespace used twice", `
class Twice(type):
    def __new__(m, name, bases, ns):
        first = super().__new__(m, name, bases, dict(ns))
        try: return super().__new__(m, name, bases, ns)
        finally: kept.append(first)
kept = []
class A(metaclass=Twice):
    def me(self): return __class__
    def __len__(self): return 4
print(A().me() is A, kept[0]().me() is A, len(A()), len(kept[0]()))
gone = []
class Loud:
    def __del__(self):
        class T:
            def __len__(self): return 2
        gone.append(len(T()))
def cell_of(value):
    def f(): return value
    return f.__closure__[0]
ns = {'__module__': 'm', '__classcell__': cell_of(Loud()), '__len__': lambda s: 6}
B = type('B', (), ns)
print(gone, len(B()), ns['__classcell__'].cell_contents is B)
class Key(str): pass
C = type('C', (), {'__module__': 'm', '__' + 'len__': lambda s: 1, ''.join(['__cla', 'sscell__']): cell_of(Loud()), Key('k'): 1})
print(gone, len(C()), C.k)
`],
  ["keys that are no strings", `
import warnings; warnings.simplefilter('ignore')
class Odd:
    def __init__(self, name): self.h = hash(name)
    def __hash__(self): return self.h
    def __eq__(self, other):
        class T:
            def __len__(self): return 3
        seen.append(len(T()))
        return False
seen = []
A = type('A', (), {'__module__': 'm', Odd('__len__'): 1, Odd('__set_name__'): 2, Odd('__init_subclass__'): 3})
class B(A):
    a = A()
    def __repr__(self): return 'B'
print(len(seen) > 0, set(seen), B())
class C:
    def __len__(self): return 5
print(len(C()))
`],
];
