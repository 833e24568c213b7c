"""Every error of the SDK, in one tree.

    HeadraceError
    +-- Fatal (NonRetryable)     raised by a node: the whole node fails, and no retry will help; exit code 42
    +-- Retry                    raised by a node: this attempt fails, another one may succeed
    |   +-- TooManyFailedRecords more records failed than `tolerate` allows
    +-- Cancelled                the run was cancelled; raised at the next record
    +-- SourceError              data could not be read; retryable
    |   +-- Blocked              the URL guard or the data roots refuse the address; not retryable
    |   +-- SourceMissing        there is no such file or resource; not retryable
    |   +-- MalformedStream      the data cannot be read on from here; not retryable
    +-- MalformedRecord          one record of a stream is not valid; the rest is
    +-- ProtocolError            the API refused a call, or did not answer for ten minutes
        +-- StaleEpoch           a newer process holds this node run: exit at once
        +-- StepConflict         the API expected another step

Inside `execute` any Exception fails only its record, except Fatal, Retry, Cancelled and ProtocolError.
"""

from __future__ import annotations


class HeadraceError(Exception):
    """The base of every error of the SDK."""

    retryable: bool = True
    """Whether another attempt of the whole node can succeed."""
    code: str | None = None
    """The failure type reported to the engine; None means the class name."""


class Fatal(HeadraceError):
    """Raise it to fail the whole node without any retry."""

    retryable = False


NonRetryable = Fatal


class Retry(HeadraceError):
    """Raise it to fail this attempt of the whole node; the node's retry policy decides about another."""


class TooManyFailedRecords(Retry):
    """More records failed than `tolerate` allows."""

    code = "too_many_failed_records"


class Cancelled(HeadraceError):
    """The run was cancelled."""


class SourceError(HeadraceError):
    """Data could not be read."""


class Blocked(SourceError):
    """The URL guard or the data roots refuse this address."""

    retryable = False


class SourceMissing(SourceError):
    """There is no such file or resource."""

    retryable = False


class MalformedStream(SourceError):
    """The data is not what its format promises, and cannot be read on."""

    retryable = False


class MalformedRecord(HeadraceError):
    """One record of a stream is not valid."""

    retryable = False


class ProtocolError(HeadraceError):
    """The API refused a call, or did not answer."""


class StaleEpoch(ProtocolError):
    """A newer process holds this node run."""


class StepConflict(ProtocolError):
    """The API expected another step."""
