# SPDX-License-Identifier: Apache-2.0
"""One save in the background: a thread, for which the interpreter waits when it exits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

__all__ = ["Saving"]

_log = logging.getLogger("mxio.checkpoint")


class Saving:
    """A step that is being saved, or was.

    Attributes
    ----------
    step : int
    ended : bool
    error : BaseException or None
        What it ended with.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self.error: BaseException | None = None
        self.ended = False
        # Held until it has ended. Not Thread.join, which takes locks of its own that the
        # handler of a signal, which waits for this, may have interrupted.
        self._running = threading.Lock()

    def start(self, work: Callable[[], None]) -> None:
        """Let a thread do the work, or do it here if the interpreter starts none any more."""

        def run() -> None:
            try:
                work()
            except BaseException as error:
                _log.error("step %d could not be saved: %s", self.step, error)
                self.error = error
            finally:
                self.ended = True
                self._running.release()

        self._running.acquire()
        try:
            threading.Thread(target=run, name=f"mxio-step-{self.step}").start()
        except RuntimeError:
            run()

    def join(self) -> None:
        """Wait until it has ended."""
        with self._running:
            pass
