# SPDX-License-Identifier: Apache-2.0
"""How much memory saving and loading take beyond the arrays themselves, and that nothing leaks.

Peaks are read from /proc, so this is Linux's business, and each measurement has a process of its
own. What was measured is printed: `pytest -s tests/test_memory.py` shows it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mxio

GIB, MIB = 1 << 30, 1 << 20
ROOT = str(Path(mxio.__file__).parents[1])

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="peaks of memory are read from Linux's /proc"
)

# `grown(f)` runs f and says by how many bytes the peak of this process's memory rose over what
# it had before; the peak is reset where the kernel lets us.
MEASURE = """
import gc, json, os, sys
import numpy as np
import mxio

path = sys.argv[1]

def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(field + ":"))

def grown(work):
    gc.collect()
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
    before = status("VmRSS")
    result = work()
    return status("VmHWM") - before, result

def report(**numbers):
    print(json.dumps(numbers))

# What the first call brings along is not what is measured.
mxio.loads(mxio.dumps({"a": np.arange(10), "b": np.arange(10, dtype=">i4")[::2]}))
"""


def run(code: str, path: Path) -> dict[str, Any]:
    """What a measurement in a fresh Python reported."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE + code, str(path)],
        capture_output=True,
        check=False,
        text=True,
        env=os.environ | {"PYTHONPATH": ROOT, "MXIO_THREADS": "4"},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def need_memory(nbytes: int) -> None:
    """Skip where the memory is not there: what swaps is not measured."""
    with open("/proc/meminfo", encoding="ascii") as file:
        fields = dict(line.split(":") for line in file)
    available = int(fields["MemAvailable"].split()[0]) << 10
    if available < nbytes + 512 * MIB:
        pytest.skip(f"needs {nbytes >> 20} MiB of memory and there are {available >> 20} MiB")


def show(what: str, nbytes: float) -> None:
    print(f"\n    {what}: {nbytes / MIB:+.2f} MiB", end="")


LAYOUTS = {
    "contiguous": "np.full(1 << 28, 1.5, 'f4')",
    "every second column": "np.full((1 << 14, 1 << 15), 1.5, 'f4')[:, ::2]",
    "permuted": "np.full((1 << 9, 1 << 9, 1 << 10), 1.5, 'f4').transpose(2, 0, 1)",
    "big-endian": "np.full(1 << 28, 1.5, '>f4')",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_saving_1_gib_takes_at_most_16_mib_more(layout: str, tmp_path: Path) -> None:
    need_memory(2 * GIB if "column" in layout else GIB)
    path = tmp_path / "x.mxio"
    found = run(
        f"""
x = {LAYOUTS[layout]}
grew, _ = grown(lambda: mxio.save(path, {{"x": x, "small": np.arange(9)}}, sync=False))
report(grew=grew, nbytes=x.nbytes, base=x.nbytes if x.base is None else x.base.nbytes)
""",
        path,
    )
    show(f"saving 1 GiB, {layout}", found["grew"])
    assert found["nbytes"] == GIB
    assert path.stat().st_size > GIB
    path.unlink()
    assert found["grew"] <= 16 * MIB


def test_loading_1_gib_takes_its_size_and_at_most_16_mib_more(tmp_path: Path) -> None:
    need_memory(GIB)
    path = tmp_path / "x.mxio"
    written = run(
        """
arrays = {f"{n}": np.full(1 << 24, n, "f4") for n in range(8)}
arrays |= {f"s{n}": np.full(3000, n, "f4") for n in range(10_000)}
arrays["large"] = np.full((1 << 28) + (1 << 27), 1, "u1")
mxio.save(path, arrays, sync=False)
report(payload=sum(array.nbytes for array in arrays.values()))
""",
        path,
    )
    payload = written["payload"]
    # A process for each: memory that one has given back is not seen to grow in the next.
    ways = {
        "mapping": "mxio.load(path, mmap=True)",
        "opening": "mxio.open(path)",
        "every 4096th byte of the largest of": "mxio.open(path)['large'][::4096]",
        "loading": "mxio.load(path)",
    }
    check = "all((a[0], a[-1]) == (n, n) for n, a in ((int(n.strip('s')), kept[n]) for n in some))"
    grew = {}
    for what, way in ways.items():
        right = check if what.startswith(("mapp", "load")) else True
        found = run(
            f"""
grew, kept = grown(lambda: {way})
some = ["0", "7", "s0", "s9999"]
report(grew=grew, right=bool({right}))
""",
            path,
        )
        assert found["right"]
        grew[what] = found["grew"] - (payload if what == "loading" else 0)
        show(f"{what} {payload >> 20} MiB in 10,009 arrays", grew[what])
    path.unlink()
    assert payload > GIB * 9 // 10
    # 10,009 names, arrays and entries of the index are 3 MiB of these.
    assert grew["mapping"] <= 8 * MIB
    assert grew["opening"] <= 8 * MIB
    assert grew["every 4096th byte of the largest of"] <= 16 * MIB
    assert grew["loading"] <= 16 * MIB


def test_mapping_1_gib_takes_at_most_1_mib(tmp_path: Path) -> None:
    need_memory(GIB)
    path = tmp_path / "x.mxio"
    run(
        """
x = np.full(1 << 28, 2.5, "f4")
mxio.save(path, {"x": x[1 << 20 :], "y": x[: 1 << 20]}, sync=False)
report()
""",
        path,
    )
    found = run(
        """
mapped, arrays = grown(lambda: mxio.load(path, mmap=True))
touched, last = grown(lambda: float(arrays["x"][-1]))
report(mapped=mapped, touched=touched, last=last)
""",
        path,
    )
    path.unlink()
    show("mapping 1 GiB", found["mapped"])
    show("touching its last item", found["touched"])
    assert found["last"] == 2.5
    assert found["mapped"] <= MIB
    assert found["touched"] <= MIB


def test_writing_to_a_file_object_takes_at_most_24_mib(tmp_path: Path) -> None:
    found = run(
        """
x = np.full((1 << 12, 1 << 16), 1, "u1")
with open(path, "wb") as file:
    straight, _ = grown(lambda: mxio.save(file, x))
    strided, _ = grown(lambda: mxio.save(file, x[:, ::-1]))
report(straight=straight, strided=strided)
""",
        tmp_path / "x.mxio",
    )
    (tmp_path / "x.mxio").unlink()
    show("saving 256 MiB to a file object", found["straight"])
    show("the same, reversed", found["strided"])
    # Two windows of 8 MiB: what is filled and what is handed out.
    assert max(found.values()) <= 24 * MIB


@pytest.mark.parametrize("nbytes", [1 << 10, 150_000, 1_500_000, 3 << 20])
def test_arrays_that_were_loaded_together_are_given_back_one_by_one(
    nbytes: int, tmp_path: Path
) -> None:
    found = run(
        f"""
n = (128 << 20) // {nbytes}
mxio.save(path, {{f"a{{i}}": np.full({nbytes}, i % 251, "u1") for i in range(n)}}, sync=False)
gc.collect()
before = status("VmRSS")
loaded = list(mxio.load(path).values())
whole = status("VmRSS") - before
first, last = 3 * n // 8, 5 * n // 8  # from the middle on, an eighth to both sides
del loaded[last:], loaded[:first]
kept = status("VmRSS") - before
sound = all((array == (first + i) % 251).all() for i, array in enumerate(loaded))
del loaded
report(whole=whole, kept=kept, none=status("VmRSS") - before, sound=sound)
""",
        tmp_path / "x.mxio",
    )
    assert found["sound"]
    show(f"128 MiB in arrays of {nbytes} bytes: all", found["whole"])
    show("a quarter of them", found["kept"])
    show("none of them", found["none"])
    assert found["whole"] >= 120 * MIB
    assert found["kept"] <= 64 * MIB
    assert found["none"] <= 24 * MIB


def test_opening_and_reading_lazily_takes_little(tmp_path: Path) -> None:
    found = run(
        """
x = np.arange(1 << 24, dtype="u4").reshape(1 << 12, 1 << 12)
mxio.save(path, {"c": x, "f": x.T}, sync=False)
with mxio.open(path) as reader:
    rows, _ = grown(lambda: [reader["c"][n].sum() for n in range(0, 4096, 64)])
    column, _ = grown(lambda: reader["c"][:, 5])
    f_column, _ = grown(lambda: reader["f"][5, :])
    out = np.zeros((1 << 12, 1 << 13), "u4")[:, ::2]
    out[...] = 1
    into, _ = grown(lambda: reader["c"].read(out=out))
    verified, damage = grown(lambda: reader.verify())
    assert damage == []
report(rows=rows, column=column, f_column=f_column, into=into, verified=verified)
""",
        tmp_path / "x.mxio",
    )
    for what, nbytes in found.items():
        show(f"of 64 MiB: {what}", nbytes)
    # A piece of 4 MiB for each of the four threads.
    assert found.pop("verified") <= 24 * MIB
    assert max(found.values()) <= 16 * MIB


def test_200_saves_and_loads_leak_neither_memory_nor_descriptors(tmp_path: Path) -> None:
    found = run(
        """
x = np.arange(1 << 18, dtype="f4")
saved = {"a": x, "b": x[::2], "c": x.reshape(512, 512).T[::-1], "d": x, "e": x.astype(">f4"),
         "t": [x[:10], {1: None, "s": "text"}], "z": x[:0]}
small = {f"{n}": np.arange(n) for n in range(300)}

def refused(error, work):
    try:
        work()
    except error:
        return
    raise AssertionError("nothing was raised")

class Full:
    def write(self, data):
        raise OSError(28, "full")

def once():
    mxio.save(path, saved, sync=False, metadata={"k": [1, 2]})
    mxio.load(path)
    mxio.load(path, mmap=True)
    mxio.load(path, ["a", "d"])
    with mxio.open(path) as reader:
        reader["b"][5:9], reader["c"][::7, 3], reader.read(["e"]), reader.verify()
    mxio.open(path)["a"][3]
    data = bytearray(mxio.dumps(small))
    mxio.loads(data)
    mxio.verify(data)
    data[-1] ^= 1
    refused(mxio.ChecksumError, lambda: mxio.loads(data))
    refused(mxio.FormatError, lambda: mxio.loads(data[:-1]))
    refused(mxio.FormatError, lambda: mxio.loads(data[:4000]))
    refused(mxio.EntryError, lambda: mxio.load(path, ["nope"]))
    refused(IndexError, lambda: mxio.open(path)["a"][1 << 20])
    refused(TypeError, lambda: mxio.save(path, {"a": x, "o": object()}))
    refused(ValueError, lambda: mxio.save(path, {"a": x, "x" * 70000: x}))
    refused(OSError, lambda: mxio.save(path + "/nowhere/x", saved))
    refused(OSError, lambda: mxio.save(os.path.dirname(path), saved))
    refused(OSError, lambda: mxio.save(Full(), saved))
    refused(OSError, lambda: mxio.load(path + ".no"))

def state():
    gc.collect()
    return len(os.listdir("/proc/self/fd")), status("VmRSS")

for _ in range(40):
    once()
descriptors, memory = state()
for _ in range(200):
    once()
after = state()
report(descriptors=after[0] - descriptors, memory=after[1] - memory,
       maps=sum(path in line for line in open("/proc/self/maps")),
       left=sorted(os.listdir(os.path.dirname(path))))
""",
        tmp_path / "x.mxio",
    )
    show("200 saves and 800 loads of 5 MiB", found["memory"])
    assert found["descriptors"] == 0
    assert found["maps"] == 0
    assert found["left"] == ["x.mxio"]
    assert found["memory"] <= 4 * MIB


@pytest.mark.parametrize("format", ["mxio", "mxnet", "safetensors"])
def test_restoring_a_network_takes_its_parameters_and_at_most_16_mib_more(
    format: str, tmp_path: Path
) -> None:
    need_memory(GIB)
    path = tmp_path / "net"
    network = """
from mxio.gluon import nn
def make(n_in=0):
    net = nn.HybridSequential()
    net.add(*(nn.Dense(1 << 12, use_bias=i % 2, in_units=n_in) for i in range(8)))
    net.add(*(nn.Dense(1, in_units=1) for _ in range(2000)))
    return net
payload = 8 * (1 << 26)
"""
    run(
        network
        + f"""
net = make(1 << 12)
net.initialize("ones")
net.save_parameters(path, format={format!r}, sync=False)
report()
""",
        path,
    )
    cast = "for p in net.collect_params().values(): p.cast('float16')"
    ways = {
        "new": ("", "", 1.0),
        "initialized": ("net.initialize('zeros')", "", 0.0),
        "of another dtype": (cast, "cast_dtype=True", 0.5),
    }
    for what, (prepare, options, share) in ways.items():
        found = run(
            network
            + f"""
net = make({1 << 12 if what == "initialized" else 0})
{prepare}
grew, _ = grown(lambda: net.load_parameters(path, {options}))
ones = {{True: 0, False: 1}}
right = all(
    (p.data() == ones[p.name.endswith("bias")]).all() for p in net.collect_params().values()
)
report(grew=grew, payload=payload, right=bool(right))
""",
            path,
        )
        beside = found["grew"] - share * found["payload"]
        show(f"restoring 512 MiB, {what}, {format}, beside", beside)
        assert found["right"]
        assert beside <= 16 * MIB
