# SPDX-License-Identifier: Apache-2.0
"""Placeholder until the sparse branch is merged."""

PARTS = {"csr": ("data", "indptr", "indices"), "row_sparse": ("data", "indices")}
