"""What may interrupt a node: the run is cancelled, the process is told to stop, a background call failed."""

from __future__ import annotations

from headrace.errors import Cancelled


class Stopped(BaseException):
    """SIGTERM: commit the position and leave. No Exception, so that no node swallows it."""


class Control:
    """Flags set by the background thread and by signals, looked at once per record."""

    def __init__(self) -> None:
        self.attention = False
        """True when `check` has something to say; the one flag that the loop over records looks at."""
        self.cancelled = False
        self.stopping = False
        self.interruptible = True
        """Whether a signal may raise Stopped at once: not in the middle of execute and finalize."""
        self.error: BaseException | None = None
        """What ended the background thread."""

    def cancel(self) -> None:
        self.cancelled = self.attention = True

    def stop(self) -> None:
        """Ask to stop; called by the signal handler, in the main thread. Raises Stopped where nothing would
        be lost."""
        first, self.stopping = not self.stopping, True
        self.attention = True
        if first and self.interruptible:
            raise Stopped

    def fail(self, error: BaseException) -> None:
        self.error, self.attention = error, True

    def check(self) -> None:
        """Raise what was asked for, if anything."""
        if self.error is not None:
            raise self.error
        if self.stopping:
            raise Stopped
        if self.cancelled:
            raise Cancelled
