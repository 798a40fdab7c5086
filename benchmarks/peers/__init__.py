# SPDX-License-Identifier: Apache-2.0
"""The contenders: how each library saves and loads, at the best settings we know.

A peer says what it can do and how, who checks checksums, and does it; it never looks at
the clock. What it is given is adopted first (a torch tensor over the same memory, say), so
no conversion is timed. `how` names the settings; they were the fastest of those tried with
safetensors 0.8.0 (also its pread backend, and from bytes), h5py 3.16, NumPy 2.4, torch
2.13, ztensor 2.1.2, zarr 3.1.6.
"""

from __future__ import annotations

from benchmarks.peers.base import Array, Arrays, Peer, Pieces
from benchmarks.peers.mxnet import Mxnet
from benchmarks.peers.others import H5py, H5pyLowLevel, Npy, Npz, Pickle, Safetensors, Zarr
from benchmarks.peers.ours import Mxio, MxioMapped, MxioParams, MxioSafetensors, MxioUnchecked
from benchmarks.peers.tensors import SafetensorsTorch, Torch, TorchMapped, Ztensor

__all__ = ["Array", "Arrays", "Peer", "Pieces", "find"]

# In the order of tables; mxio, to which the others are compared, first.
_PEERS: tuple[type[Peer], ...] = (
    Mxio,
    MxioUnchecked,
    MxioMapped,
    MxioParams,
    MxioSafetensors,
    Mxnet,
    Safetensors,
    SafetensorsTorch,
    Ztensor,
    Npz,
    Npy,
    H5py,
    H5pyLowLevel,
    Zarr,
    Pickle,
    Torch,
    TorchMapped,
)


def find(only: str | None = None) -> tuple[list[Peer], dict[str, str]]:
    """Return the peers (of one name) that are installed, and why each other is skipped."""
    found: list[Peer] = []
    skipped: dict[str, str] = {}
    for peer in (peer for peer in _PEERS if only in (None, peer.name)):
        try:
            found.append(peer())
        except ImportError as error:
            skipped[peer.name] = str(error)
    return found, skipped
