/** Cases as those of cases.ts, in which other code runs between: threads, signals, the collector; and what a class is used for afterwards. */
export const casesBetween: readonly (readonly [string, string])[] = [
  ["threads that make classes at once", `
import threading, sys
sys.setswitchinterval(1e-6)
class Base:
    def __init_subclass__(cls): cls.n = len(cls())
    def __len__(self): return 0
wrong = []
def work(i):
    for k in range(300):
        class A(Base):
            def __len__(self): return i + k
            def __call__(self): return k
        class B(A):
            def __repr__(self): return str(k)
        class E(ValueError, A if k % 2 else Base): pass
        B.__add__ = lambda s, o: o + k
        if (A.n, B.n, len(A()), len(B()), B()(), repr(B()), B() + 1, str(E('x'))) != (i + k, i + k, i + k, i + k, k, str(k), k + 1, 'x'): wrong.append((i, k))
threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
[t.start() for t in threads]; [t.join() for t in threads]
print(wrong)
`],
  ["signal handlers that make classes", `
import signal, time
count = 0
def handler(*a):
    global count
    class H:
        def __len__(self): return 11
        def __getitem__(self, i): return i
    H.__add__ = lambda s, o: 1
    count += len(H()) == 11 and H()[2] == 2 and H() + 1 == 1
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
wrong = 0
for k in range(3000):
    class A:
        def __init_subclass__(cls): cls.n = len(cls())
        def __len__(self): return k
    class B(A): __iter__ = lambda s: iter((k,))
    wrong += (len(A()), len(B()), B.n, list(B())) != (k, k, k, [k])
deadline = time.monotonic() + 20
while count == 0 and time.monotonic() < deadline: pass
signal.setitimer(signal.ITIMER_REAL, 0)
print(wrong, count > 0)
`],
  ["the collector, its callbacks and finalizers in the middle", `
import gc, weakref
gc.set_threshold(1, 1, 1)
count = 0
class Garbage:
    def __del__(self):
        global count
        class D:
            def __len__(self): return 5
        D.__call__ = lambda s: 4
        count += len(D()) == 5 and D()() == 4
def heard(phase, info):
    class G:
        def __len__(self): return 6
    if len(G()) != 6: print('callback')
gc.callbacks.append(heard)
def made(k):
    g = Garbage(); g.me = g
    class A(Exception if k % 2 else object):
        def __init_subclass__(cls): cls.n = len(cls())
        def __len__(self): return k
        slots = [[] for _ in range(3)]
    class B(A):
        def __repr__(self): return 'B'
    return len(A()), B.n, repr(B())
print(all(made(k) == (k, k, 'B') for k in range(400)))
gc.callbacks.clear(); gc.set_threshold(700, 10, 10); gc.collect()
print(count)
r = [weakref.ref(c) for c in (type('A', (), {'__module__': 'm'}), type('B', (Exception,), {'__module__': 'm'}))]
gc.collect(); print([x() for x in r], gc.isenabled())
gc.disable()
class Off:
    def __len__(self): return 3
print(len(Off()), gc.isenabled())
`],
  ["a metaclass's __del__, when making a class fails half-way", `
seen = []
class M(type):
    def __del__(cls):
        class D:
            def __len__(self): return 5
        D.__call__ = lambda s: 4
        seen.append((len(D()), D()()))
class A(metaclass=M): pass
class B(A): pass
for i in range(3):
    try: M('C', (A, B), {'__module__': 'm', '__len__': lambda s: 1})
    except TypeError as e: print(e)
print(seen)
`],
  ["copies, pickles, versions, names", `
import pickle, copy, sys
class A:
    def __init__(self): self.a = 1
    def __eq__(self, o): return self.a == o.a
    def __getstate__(self): return {'a': self.a + 1}
class B(A): pass
for c in (A, B): print(pickle.loads(pickle.dumps(c())).a, copy.copy(c()) == c(), pickle.loads(pickle.dumps(c)) is c)
def f(o): return o.x, o.m(), len(o)
for k in range(200):
    class V:
        x = k
        def m(self): return k
        def __len__(self): return k
    assert [f(V()) for _ in range(20)] == [(k, k, k)] * 20
    V.x = -k; V.m = lambda s: -k; V.__len__ = lambda s: k + 1
    assert [f(V()) for _ in range(20)] == [(-k, -k, k + 1)] * 20
A.__name__ = 'Z'; print(A, A.__qualname__, B.__mro__)
x = A(); x.__class__ = B; print(type(x), x == A())
class C(A):
    """doc"""
    x: int = 1
    __match_args__ = ('x',)
print(C.__doc__, C.__module__, C.__match_args__, 'x' in getattr(C, '__annotations__', {}) or sys.version_info >= (3, 14))
`],
  ["metaclasses of C, and subclasses of type", `
import ctypes, types
class S(ctypes.Structure): _fields_ = [('a', ctypes.c_int)]
class T(S): _fields_ = [('b', ctypes.c_int)]
print(T(1, 2).b, ctypes.sizeof(T))
class M(type): pass
class N(M):
    def __len__(cls): return 5
print(len(N('X', (), {})), type.__new__(N, 'Y', (), {'__len__': lambda s: 2}).__mro__[1:], types.new_class('Z', (), {'metaclass': N}, lambda ns: ns.update(a=1)).a)
class Sub(types.ModuleType):
    def __len__(self): return 4
print(len(Sub('m')))
`],
];
