# SPDX-License-Identifier: Apache-2.0
"""MXNet's pickles are read as plain trees, and do nothing.

Files of real releases are compared with what the release found in them; other pickles are
written here by Python's pickle, of classes that stand where MXNet's would, or opcode by
opcode where an enemy would write them.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import re
import struct
import sys
import tracemalloc
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxio
from mxio import FormatError, MXIOError, UnsupportedError, _sparse
from mxio.states import load_states

GOLDEN = Path(__file__).parent / "golden" / "states"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text())
FILES = sorted(EXPECTED)


def leaves_of(tree: Any) -> Iterator[Any]:
    if isinstance(tree, (dict, list, tuple)):
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves_of(item)
    else:
        yield tree


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return bool(a == b)


# ---- files of real releases ------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_the_arrays_are_those_that_the_release_found(name: str) -> None:
    expected = EXPECTED[name]
    tree = load_states(GOLDEN / name)
    if expected["container"] == "trainer_states":
        assert list(tree) == ["states", "optimizer"]
        tree = tree["states"]
    assert type(tree) is (list if expected["container"] == "list" else dict)
    assert len(list(leaves_of(tree))) == len(expected["leaves"])
    for leaf in expected["leaves"]:
        found = tree
        for key in leaf["where"]:
            found = found[key]
        if leaf.get("none"):
            assert found is None
        else:
            assert type(found) is np.ndarray
            assert (found.dtype.name, list(found.shape)) == (leaf["dtype"], leaf["shape"])
            assert found.tobytes().hex() == leaf["hex"]


@pytest.mark.parametrize("name", [name for name in FILES if "optimizer" in EXPECTED[name]])
def test_the_optimizer_has_the_attributes_that_the_release_found(name: str) -> None:
    expected = EXPECTED[name]["optimizer"]
    optimizer = load_states(GOLDEN / name)["optimizer"]
    assert optimizer.pop("class") == expected["class"].rpartition(".")[2]
    # Pickles up to 1.2 hold the parameters; later ones do not, and MXNet makes an empty dict.
    params, printed = optimizer.pop("param_dict", {}), expected["attributes"].pop("param_dict")
    assert {key: repr(value) for key, value in optimizer.items()} == expected["attributes"]
    named = re.findall(
        r"(\d+): Parameter (\w+) \(shape=\((.*?)\), dtype=[^)]*?(\w+)'?>?\)", printed
    )
    assert [name for _, name, _, _ in named] == [param["name"] for param in params.values()]
    for number, _, shape, dtype in named:
        param = params[int(number)]
        assert param["class"] == "Parameter"
        assert param["dtype"] == dtype
        (data,) = param["_data"]
        assert data.shape == tuple(map(int, re.findall(r"\d+", shape)))
        assert data.dtype == dtype
        assert param["_ctx_list"] == ["cpu(0)"]


@pytest.mark.parametrize("name", FILES)
def test_what_comes_back_can_be_saved_and_loaded_again(name: str) -> None:
    tree = load_states(GOLDEN / name)
    assert same(mxio.loads(mxio.dumps(tree)), tree)


def test_paths_bytes_and_file_objects_are_read_alike() -> None:
    path = GOLDEN / "1.9.1-trainer_adam.states"
    tree = load_states(path)
    data = path.read_bytes()
    shifted = io.BytesIO(b"before" + data)
    shifted.seek(6)
    for source in (str(path), data, bytearray(data), io.BytesIO(data), shifted):
        assert same(load_states(source), tree)
    with pytest.raises(FileNotFoundError, match=r"nothing\.states"):
        load_states(path.parent / "nothing.states")


# ---- pickles that Python writes, of classes that stand where MXNet's would ------------------


def record(array: np.ndarray[Any, Any]) -> bytes:
    """The bytes of an array as MXNet 1.x pickles it."""
    code = {"float32": 0, "float64": 1, "float16": 2}[array.dtype.name]
    shape = struct.pack(f"<{array.ndim}q", *array.shape)
    head = struct.pack("<IiI", 0xF993FAC9, 0, array.ndim)
    return head + shape + struct.pack("<3i", 1, 0, code) + array.tobytes()


class NDArray:
    def __init__(self, handle: Any = None) -> None:
        self.handle = handle

    def __reduce__(self) -> Any:
        return type(self), (None,), {"handle": self.handle}


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


@pytest.fixture
def mxnet(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Make an object of a class of that name, which pickle takes for MXNet's."""

    def make(module: str, name: str, base: type, *args: Any, **attributes: Any) -> Any:
        parts = module.split(".")
        for n in range(1, len(parts) + 1):
            whole = ".".join(parts[:n])
            if whole not in sys.modules:
                monkeypatch.setitem(sys.modules, whole, types.ModuleType(whole))
        cls = getattr(sys.modules[module], name, None)
        if cls is None:
            cls = type(name, (base,), {"__module__": module, "__qualname__": name})
            setattr(sys.modules[module], name, cls)
        return cls(*args, **attributes)

    return make


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_is_read(protocol: int, mxnet: Callable[..., Any]) -> None:
    mean, shared = np.float32([[1, -0.0, np.nan]]), np.float64([2, 3])
    handle = mxnet("mxnet.ndarray.ndarray", "NDArray", NDArray, bytearray(record(shared)))
    states = {
        0: mxnet("mxnet.ndarray.ndarray", "NDArray", NDArray, bytearray(record(mean))),
        "second": (handle, None, [handle]),
        -7: mxnet("mxnet.ndarray", "NDArray", NDArray, None),
    }
    schedule = mxnet("mxnet.lr_scheduler", "FactorScheduler", Plain, step=10, factor=0.5)
    optimizer = mxnet(
        "mxnet.optimizer.optimizer",
        "Adam",
        Plain,
        lr=np.float32(0.1),
        lr_scheduler=schedule,
        text="a\n'\"\\\t€𝄞",
        dtypes=[np.float32, np.bool_],
        numbers=(2**70, -(2**31), 2**31, -1, 255, 65_536, 1e300, float("inf"), True, False),
        ctx=mxnet("mxnet.context", "Context", Plain, device_typeid=2, device_id=1, _old_ctx=None),
        empty=((), [], {}, "", bytearray(), b"", b"\n\xff"),
    )
    tree = load_states(pickle.dumps((states, optimizer), protocol))
    assert list(tree["states"]) == [0, "second", -7]
    assert same(tree["states"][0], mean)
    assert same(tree["states"]["second"], (shared, None, [shared]))
    assert tree["states"]["second"][0] is tree["states"]["second"][2][0]
    assert tree["states"][-7] is None
    assert same(
        tree["optimizer"],
        {
            "class": "Adam",
            "lr": float(np.float32(0.1)),
            "lr_scheduler": {"class": "FactorScheduler", "step": 10, "factor": 0.5},
            "text": "a\n'\"\\\t€𝄞",
            "dtypes": ["float32", "bool"],
            "numbers": optimizer.numbers,
            "ctx": "gpu(1)",
            "empty": ((), [], {}, "", b"", b"", b"\n\xff"),
        },
    )
    assert same(mxio.loads(mxio.dumps(tree)), tree)


def test_numbers_and_dtypes_of_numpy_become_plain() -> None:
    numbers = [np.float16(0.5), np.float64(1e-300), np.int64(-5), np.uint8(200), np.bool_(True)]
    plain = [0.5, 1e-300, -5, 200, True]
    for protocol in (3, 4, 5):
        assert same(load_states(pickle.dumps(numbers, protocol)), plain)
        assert same(load_states(pickle.dumps(np.dtype(">f8"), protocol)), "float64")
    # Python 2 wrote the bytes as a str; a big-endian machine wrote its own order.
    dtype = "(cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'{}'\nNNNI-1\nI-1\nI0\ntb"
    scalar = "cnumpy.core.multiarray\nscalar\n{}S'{}'\ntR."
    for order, octets in (("<", r"\x00\x00\x00\x00\x00\x00\xf8?"), (">", r"?\xf8" + r"\x00" * 6)):
        assert load_states(scalar.format(dtype.format(order), octets).encode()) == 1.5


def test_a_sparse_state_is_a_sparse_array() -> None:
    if not hasattr(_sparse, "SparseArray"):
        pytest.skip("sparse arrays are not there yet")
    # row_sparse (4, 2), row 3 stored: storage shape, shape, context, dtype, aux dtype and shape
    body = struct.pack("<Ii", 0xF993FAC9, 1) + struct.pack("<I2qI2q", 2, 1, 2, 2, 4, 2)
    body += struct.pack("<3i", 1, 0, 0) + struct.pack("<iIq", 6, 1, 1)
    body += np.float32([5, 6]).tobytes() + np.int64([3]).tobytes()
    state = load_states(of_array(body, b"mxnet.ndarray.sparse\nRowSparseNDArray"))
    assert state.stype == "row_sparse"
    assert state.toarray().tolist() == [[0, 0], [0, 0], [0, 0], [5, 6]]


# ---- what an enemy would write --------------------------------------------------------------


def of_array(handle: bytes, name: bytes = b"mxnet.ndarray.ndarray\nNDArray") -> bytes:
    return b"\x80\x03c" + name + b"\nN\x85R}X\x06\0\0\0handle" + of_bytes(handle) + b"sb."


def of_bytes(data: bytes) -> bytes:
    return b"cbuiltins\nbytearray\nB" + struct.pack("<I", len(data)) + data + b"\x85R"


def short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


# A class that is admitted, and a state that would be set on it.
SGD = b"cmxnet.optimizer\nSGD\n"
# Each would run `touch MARK`, or import, or reach for something that does.
EVIL: dict[str, bytes] = {
    "GLOBAL and REDUCE": b"cos\nsystem\n(S'touch MARK'\ntR.",
    "STACK_GLOBAL": b"\x80\x04"
    + short("os")
    + short("system")
    + b"\x93"
    + short("touch MARK")
    + b"\x85R.",
    "INST": b"(S'touch MARK'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch MARK'\no.",
    "NEWOBJ": b"\x80\x02csubprocess\nPopen\nX\x0a\0\0\0touch MARK\x85\x81.",
    "NEWOBJ_EX": b"\x80\x04csubprocess\nPopen\n" + short("touch MARK") + b"\x85}\x92.",
    "eval": b'cbuiltins\neval\n(S\'open("MARK","w")\'\ntR.',
    "exec of Python 2": b'c__builtin__\nexec\n(S\'open("MARK","w")\'\ntR.',
    "getattr": b"cbuiltins\ngetattr\n(cmxnet.optimizer\nSGD\nS'__init__'\ntR.",
    "open": b"cbuiltins\nopen\n(S'MARK'\nS'w'\ntR.",
    "import": b"c__builtin__\n__import__\n(S'antigravity'\ntR.",
    "a module that would be imported": b"cantigravity\nfly\n.",
    "popped again": b"cos\nsystem\n0N.",
    "called and popped": b"cos\nsystem\n(S'touch MARK'\ntR0N.",
    "in the memo only": b"cposix\nsystem\np0\n0N.",
    "dots in the name": b"\x80\x04" + short("mxnet.optimizer") + short("os.system") + b"\x93.",
    "dots that lead out": b"\x80\x04" + short("builtins") + short("bytearray.__class__") + b"\x93.",
    "a name with a line end": b"\x80\x04" + short("mxnet.optimizer\nos") + short("SGD") + b"\x93.",
    "a name with a colon": b"\x80\x04" + short("os") + short("x:mxnet.optimizer:SGD") + b"\x93.",
    "a private name": b"cmxnet.optimizer\n__import__\n.",
    "mxnet, but no optimizer": b"cmxnet.base\n_load_lib\n)R.",
    "numpy's reconstruct": b"cnumpy.core.multiarray\n_reconstruct\n.",
    "numpy's loader": b"cnumpy\nload\n(S'MARK'\ntR.",
    "another codec": b"c_codecs\nencode\n(Vx\nVidna\ntR.",
    "decoding": b"c_codecs\ndecode\n(Vx\nVlatin1\ntR.",
    "copyreg's registry": b"ccopyreg\nadd_extension\n.",
    "a reduce on a method": b"cmxnet.optimizer\nSGD\n(ccopyreg\n__newobj__\ntR.",
    "persistent id": b"Pos.system\n.",
    "binary persistent id": b"NQ.",
    "extension code 1": b"\x82\x01.",
    "extension code 2": b"\x83\x01\x00.",
    "extension code 4": b"\x84\x01\x00\x00\x00.",
    "a buffer from outside": b"\x80\x05\x97.",
    "a set": b"\x80\x04\x8f.",
    "a frozenset": b"\x80\x04(\x91.",
    "arguments of a class": SGD + b"(S'touch MARK'\ntR.",
    "keywords of a class": b"\x80\x04" + SGD + b")}" + short("a") + b"Ns\x92.",
    "a state of slots": SGD + b")R(N}S'a'\nNstb.",
    "a state that is no dict": SGD + b")R]b.",
    "a state with keys that are no text": SGD + b")R}I1\nNsb.",
    "items appended to an object": SGD + b")RNa.",
    "items set in an object": SGD + b")RS'a'\nNs.",
    "a class for a value": SGD + b".",
    "reconstructed from another base": b"ccopy_reg\n_reconstructor\n(" + SGD + SGD + b"NtR.",
    "reconstructed with a value": b"ccopy_reg\n_reconstructor\n("
    + SGD
    + b"c__builtin__\nobject\nI1\ntR.",
    "a class made of numpy's": b"cnumpy\nfloat32\n(I1\ntR.",
    "an array with attributes": of_array(b"")[:-2] + b"X\x01\0\0\0xNsb.",
    "an array with arguments": b"cmxnet.ndarray\nNDArray\n(I1\ntR.",
    "a dtype of objects": b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.",
    "a scalar of objects": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR"
    b"S'xxxxxxxx'\ntR.",
    "a bytearray of a number": b"cbuiltins\nbytearray\n(L1000000000000L\ntR.",
    "a bytearray in another encoding": b"c__builtin__\nbytearray\n(Vx\nS'idna'\ntR.",
    "a tuple for a key": b"}(tNs.",
    "a float for a key": b"}F1.0\nNs.",
    "a large number for a key": b"}L36893488147419103232L\nNs.",
    "a device of no kind": b"cmxnet.context\nContext\n)R"
    b"}(S'device_typeid'\nI9\nS'device_id'\nI0\nub.",
    "a device of a number too large": b"cmxnet.context\nContext\n)R"
    b"}(S'device_typeid'\nI1\nS'device_id'\n\x8b\x88\x13\0\0" + b"\x01" * 5000 + b"ub.",
    "a call of what was called": SGD + b")R)R.",
    "two states": SGD + b")R}b}b.",
    "protocol 6": b"\x80\x06N.",
}


@pytest.mark.parametrize("how", EVIL)
def test_what_is_not_admitted_is_refused_and_does_nothing(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    (tmp_path / "evil.states").write_bytes(EVIL[how])
    with pytest.raises(UnsupportedError, match=r"^evil\.states: the pickle has "):
        load_states("evil.states")
    assert os.listdir() == ["evil.states"]
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("how", ["GLOBAL and REDUCE", "STACK_GLOBAL", "INST", "OBJ"])
def test_the_error_names_what_the_pickle_would_have_called(how: str) -> None:
    with pytest.raises(UnsupportedError, match=r"'os\.system' at offset \d+"):
        load_states(EVIL[how])


def test_a_long_name_from_a_file_is_escaped_and_clipped() -> None:
    with pytest.raises(UnsupportedError) as caught:
        load_states(b"c" + b"\x1b[31m" * 10_000 + b"\nx\n.")
    assert len(str(caught.value)) < 600
    assert "\x1b" not in str(caught.value)


def test_pickle_itself_would_have_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(EVIL["GLOBAL and REDUCE"])
    assert os.listdir() == ["MARK"]


UNSOUND: dict[str, bytes] = {
    "nothing": b"",
    "no pickle": b"junk",
    "a native file": mxio.dumps([1]),
    "no value": b".",
    "two values": b"NN.",
    "a mark left": b"(N.",
    "something behind it": b"N.N.",
    "no end": b"N",
    "pop of nothing": b"0.",
    "dup of nothing": b"2.",
    "no mark": b"t.",
    "tuple across a mark": b"N(\x86.",
    "memo that is not there": b"g7\n.",
    "memo number that is none": b"Np-\n.",
    "append to a number": b"I1\nNa.",
    "items set in a list": b"](NNu.",
    "a key without a value": b"(Nd.",
    "a call of a value": b"I1\n)R.",
    "arguments that are no tuple": SGD + b"NR.",
    "an object without a class": b"(o.",
    "a state of nothing": b"N}b.",
    "a global of numbers": b"I1\nI2\n\x93.",
    "text that is not UTF-8": b"X\x01\0\0\0\xff.",
    "a module that is not UTF-8": b"c\xff\nx\n.",
    "an escape that is none": rb"S'\q'" + b"\n.",
    "a string without quotes": b"Sx\n.",
    "a string half in quotes": b"S'\n.",
    "a number of letters": b"Iten\n.",
    "a number with a line": b"I1_0\n.",
    "a number too long": b"L" + b"9" * 10_000 + b"L\n.",
    "a float of letters": b"Fx\n.",
    "a negative length": b"T\xff\xff\xff\xff.",
    "a negative length of a number": b"\x8b\xff\xff\xff\xff.",
    "a frame too long": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "an unknown opcode": b"\xff.",
    "an attribute named class": SGD + b")R}S'class'\nNsb.",
    "an array of text": of_array(b"")[:-2].replace(of_bytes(b""), b"Vx\n") + b"sb.",
    "an array of no record": of_array(b""),
    "an array of junk": of_array(b"\xff" * 40),
    "an array cut short": of_array(record(np.float32([1, 2]))[:-1]),
    "an array with more": of_array(record(np.float32([1, 2])) + b"\0"),
    "bytes that are not Latin-1": b"c__builtin__\nbytearray\n(V\\u20ac\nS'latin-1'\ntR.",
    "a list that holds itself": b"]q\x00h\x00a.",
    "a dict that holds itself": b"}q\x00K\x01h\x00s.",
    "a tuple that holds itself": b"]q\x00h\x00\x85a.",
    "an object that holds itself": SGD + b")Rq\x00}S'a'\nh\x00sb.",
    "lists nested too deep": b"]" * 102 + b"a" * 101 + b".",
    "lists nested far too deep": b"]" * 200_000 + b"a" * 199_999 + b".",
    "tuples nested far too deep": b")" + b"\x85" * 200_000 + b".",
    "objects nested far too deep": (SGD + b")R}S'a'\n") * 5000 + b"N" + b"sb" * 5000 + b".",
}


@pytest.mark.parametrize("how", UNSOUND)
def test_what_is_no_sound_pickle_is_a_format_error(how: str) -> None:
    with pytest.raises(FormatError, match="<bytes>"):
        load_states(UNSOUND[how])


def test_a_hundred_lists_in_each_other_are_read() -> None:
    tree = load_states(b"]" * 100 + b"a" * 99 + b".")
    assert same(mxio.loads(mxio.dumps(tree)), tree)


MIB = 2**20
BIG = b"B" + struct.pack("<I", MIB) + b"\0" * MIB + b"q\x01"
RECORD = record(np.zeros(MIB // 4, np.float32))
LARGE: dict[str, bytes] = {
    "bytes": b"\x8e" + struct.pack("<Q", 2**60) + b".",
    "bytes of 4 GiB": b"B\xff\xff\xff\xff.",
    "a bytearray": b"\x96" + struct.pack("<Q", 2**40) + b".",
    "text": b"\x8d" + struct.pack("<Q", 2**40) + b".",
    "a number": b"\x8b\xff\xff\xff\x7f.",
    "a bytearray of so many": EVIL["a bytearray of a number"],
    "a place in the memo": b"Nr\xff\xff\xff\xff0.",
    "lists doubled": b"(]q\0" + b"".join(b"(h%ch%clq%c" % (n, n, n + 1) for n in range(60)) + b"l.",
    "tuples doubled": b"(Nq\0"
    + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60))
    + b"l.",
    "a list repeated": b"((" + b"N" * 100_000 + b"lq\0" + b"h\0" * 10_000 + b"l.",
    "bytes repeated": b"("
    + b"B"
    + struct.pack("<I", MIB)
    + b"\0" * MIB
    + b"q\x01"
    + b"cbuiltins\nbytearray\nh\x01\x85R" * 1000
    + b"l.",
    "arrays repeated": b"("
    + b"B"
    + struct.pack("<I", len(RECORD))
    + RECORD
    + b"q\x01"
    + b"cmxnet.ndarray\nNDArray\n)R}X\x06\0\0\0handleh\x01sb" * 1000
    + b"l.",
}


@pytest.mark.parametrize("how", LARGE)
def test_a_small_pickle_cannot_take_much_memory(how: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(MXIOError):
            load_states(LARGE[how])
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()


# ---- damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["0.12.1-py27-trainer_adam.states", "2.0.0b1-trainer_lamb.states"])
def test_a_file_cut_short_anywhere_is_a_format_error(name: str) -> None:
    data = (GOLDEN / name).read_bytes()
    for nbytes in range(len(data)):
        with pytest.raises(FormatError):
            load_states(data[:nbytes])


_heard: list[str] | None = None


def _listen(event: str, args: object) -> None:
    if _heard is not None and event.split(".")[0] in {
        "pickle",
        "exec",
        "compile",
        "open",
        "os",
        "subprocess",
        "socket",
        "ctypes",
    }:
        _heard.append(event)


@pytest.fixture
def deeds() -> Iterator[list[str]]:
    """Everything of consequence that the interpreter does during a test."""
    global _heard
    if not hasattr(_listen, "installed"):
        sys.addaudithook(_listen)  # for good: there is no way to take it back
        _listen.installed = True  # type: ignore[attr-defined]
    _heard = []
    yield _heard
    _heard = None


@pytest.mark.parametrize("name", FILES)
def test_flipped_bytes_give_another_tree_or_a_known_error(name: str, deeds: list[str]) -> None:
    data = (GOLDEN / name).read_bytes()
    load_states(data)  # imports the codecs of text
    deeds.clear()
    chance = random.Random(name)
    n_errors = 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            damaged[chance.randrange(len(data))] = chance.randrange(256)
        try:
            load_states(damaged)
        except MXIOError:
            n_errors += 1
    assert n_errors > 30
    assert deeds == []


def test_any_opcodes_in_any_order_give_a_tree_or_a_known_error(deeds: list[str]) -> None:
    pieces = [bytes([opcode]) for opcode in range(256)]
    pieces += [b"S'class'\n", b"I1\n", b"K\x01", SGD + b")R", b"X\x01\0\0\0a", b"]", b"}", b"("]
    pieces += [
        b"cnumpy\nfloat32\n",
        b"cbuiltins\nbytearray\n",
        b"cos\nsystem\n",
        b"q\0",
        b"h\0",
    ] * 4
    load_states(b"Vx\n.")  # imports a codec
    deeds.clear()
    chance = random.Random(3)
    n_errors = 0
    for _ in range(20_000):
        data = b"".join(chance.choices(pieces, k=chance.randrange(1, 9))) + b"."
        try:
            load_states(data)
        except MXIOError:
            n_errors += 1
    assert n_errors < 20_000
    assert deeds == []
