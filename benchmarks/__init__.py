# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: one file per question, each answered by one fair run.

``python -m benchmarks`` asks them all, ``python -m benchmarks save load`` some;
``--quick`` takes a minute. A question is a module with the question as the first line
of its docstring and a function ``cases``; `harness` says what a fair run is and times
it, `peers` says how each library is used at its best, `report` writes what came out.
"""
