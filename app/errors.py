"""Every error Headrace raises on purpose, in one tree.

    HeadraceError
    +-- InputError                 what the caller sent is wrong; carries the places
    |   +-- MalformedInput         400  not JSON (or YAML) at all
    |   +-- InvalidInput           422  JSON, but not valid
    |   +-- TooLarge               413
    |   +-- UnsupportedMedia       415
    +-- AccessError
    |   +-- Unauthorized           401  no key, a wrong key, a bad signature
    |   +-- Forbidden              403  a key without the scope or outside its prefix
    +-- NotFound                   404
    +-- Conflict                   409  the state of things does not allow it
    |   +-- RunNotFinished     409  only an ended run is retried or forked
    |   +-- StaleEpoch             409  a newer instance or attempt holds the node run
    |   +-- StepConflict           409  a checkpoint out of order, or unlike the one recorded
    |   +-- IdempotencyConflict    409  the same key with another body
    +-- PreconditionFailed         412  If-Match does not match
    +-- Unavailable                503  not accepted; try again after `retry_after` seconds
    |   +-- StoreUnavailable       503  Redis does not answer, or cannot write
    |   +-- Backpressure           503  past the set depth of the trigger stream
    +-- ExpressionError            an expression failed; fails the node run, names the place
    +-- CommitConflict             another claimant committed first; load again and decide again
    +-- EngineFault                a bug or a poison signal: fails its run with `engine_error`
    +-- UsageError                 the command line was used wrongly; exit code 2

`status` and `code` become the HTTP status and the problem's `type`; the message is shown to users, so it never
carries exception text of a library, a secret or a path of the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple


class Place(NamedTuple):
    """One thing that is wrong: `pointer` is a JSON pointer (RFC 6901) into the body, `detail` says how to mend it."""

    pointer: str
    detail: str


class HeadraceError(Exception):
    """The base of every error of ours. The docstring of a class is its default message."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(self, message: str | None = None, **extra: Any) -> None:
        self.message = message or (type(self).__doc__ or self.code).strip().splitlines()[0]
        self.extra = extra
        """Members added to the problem document, for example `expected` of a StepConflict."""
        super().__init__(self.message)


class InputError(HeadraceError):
    """The request is not valid."""

    status = 422
    code = "invalid"

    def __init__(self, message: str | None = None, places: Sequence[Place] = (), **extra: Any) -> None:
        super().__init__(message, **extra)
        self.places = list(places)


class MalformedInput(InputError):
    """The request cannot be read."""

    status = 400
    code = "malformed"


class InvalidInput(InputError):
    """The request is not valid."""


class TooLarge(InputError):
    """The body is too large."""

    status = 413
    code = "too_large"


class UnsupportedMedia(InputError):
    """The content type or encoding is not supported."""

    status = 415
    code = "unsupported_media"


class AccessError(HeadraceError):
    """Access refused."""

    status = 403
    code = "forbidden"


class Unauthorized(AccessError):
    """What shows who is asking is missing, or not valid."""

    status = 401
    code = "unauthorized"


class Forbidden(AccessError):
    """The API key does not allow this."""


class NotFound(HeadraceError):
    """There is no such thing."""

    status = 404
    code = "not_found"


class Conflict(HeadraceError):
    """The current state does not allow this."""

    status = 409
    code = "conflict"


class RunNotFinished(Conflict):
    """The run has not ended; wait for it, or cancel it first."""

    code = "run_not_finished"


class StaleEpoch(Conflict):
    """A newer instance or attempt holds this node run; this one must exit."""

    code = "stale_epoch"


class StepConflict(Conflict):
    """The checkpoint is out of order or conflicts with the recorded one."""

    code = "step_conflict"


class IdempotencyConflict(Conflict):
    """The same idempotency key was used with another body."""

    code = "idempotency_conflict"


class PreconditionFailed(HeadraceError):
    """The document was changed by someone else since it was read."""

    status = 412
    code = "precondition_failed"


class Unavailable(HeadraceError):
    """The service cannot accept this now; nothing was done."""

    status = 503
    code = "unavailable"

    def __init__(self, message: str | None = None, retry_after: int = 1, **extra: Any) -> None:
        super().__init__(message, **extra)
        self.retry_after = retry_after
        """Seconds after which another try makes sense."""


class StoreUnavailable(Unavailable):
    """The store does not answer or cannot write; nothing was accepted."""

    code = "store_unavailable"


class Backpressure(Unavailable):
    """Too many triggers wait already; nothing was accepted."""

    code = "backpressure"


class ExpressionError(HeadraceError):
    """An expression could not be evaluated."""

    status = 422
    code = "expression"


class CommitConflict(HeadraceError):
    """Another claimant committed this run first."""

    code = "commit_conflict"


class EngineFault(HeadraceError):
    """The engine could not decide a signal."""

    code = "engine_error"


class NewerSignal(EngineFault):
    """A signal of a newer release: a worker that can read it must decide it."""


class UsageError(HeadraceError):
    """The command was used wrongly."""

    status = 400
    code = "usage"
