# SPDX-License-Identifier: Apache-2.0
"""``python -m mxio`` is ``mxio``."""

from mxio.cli import main

raise SystemExit(main())
