"""Logs of Jobs as objects: what was received of a launch in parts, and the whole once it has ended.

    RUN/REF.ATTEMPT.LAUNCH.log                                the archived log: what the container wrote
    RUN/REF.ATTEMPT.LAUNCH.parts/CREATED.UID.OFFSET           what was received of one pod from a byte on, in order

A part holds lines as the cluster gives them, each behind its time: that is where reading goes on after a pause, and OFFSET
counts these bytes, so a hole between two parts is seen and its size is known. Who reads a log gets it without the times, the
same from the parts as from the archived object.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import NamedTuple

from app.core.placement import KUBERNETES, Placement
from app.errors import NotFound, Unavailable, UsageError
from app.logfiles import log_name
from app.objects import Objects
from app.settings import Settings

PART = 1 << 20
"""Bytes after which a part is closed; the last one of a pod is written again as it grows."""
HEAD = TAIL = 32 << 20
"""Bytes of each launch's log that are kept from its beginning and from its end."""
IN_MEMORY = 4 << 20
_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


class Part(NamedTuple):
    pod: str
    """CREATED.UID: pods of one launch in the order of their names."""
    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


class JobLog:
    """The log of one launch."""

    def __init__(self, objects: Objects, run: str, ref: str, attempt: int, launch: int) -> None:
        self._objects = objects
        self.path = f"{run}/{log_name(ref, attempt, launch)}"
        self._folder = f"{self.path.removesuffix('.log')}.parts"

    async def parts(self) -> list[Part]:
        """In their order. Raises Unavailable."""
        found: list[Part] = []
        for path, size in await self._objects.listed(self._folder):
            pod, _, offset = path.rpartition("/")[2].rpartition(".")
            if offset.isdigit():
                found.append(Part(pod, int(offset), size))
        return sorted(found)

    async def write(self, pod: str, offset: int, content: bytes) -> None:
        """One part, whole, over what was there. Raises Unavailable."""
        await self._objects.write(self._part(pod, offset), content)

    async def read(self, part: Part) -> bytes:
        """Raises NotFound, Unavailable."""
        return b"".join([chunk async for chunk in self._objects.read(self._part(part.pod, part.offset))])

    async def drop(self, part: Part) -> None:
        """Remove a part. Raises Unavailable."""
        await self._objects.remove(self._part(part.pod, part.offset))

    def _part(self, pod: str, offset: int) -> str:
        return f"{self._folder}/{pod}.{offset:015d}"

    async def archived(self) -> int | None:
        """The size of the archived log; None where there is none yet. Raises Unavailable."""
        return await self._objects.size(self.path)

    async def archive(self, note: str = "") -> int:
        """Make one object of the parts, read it back and compare; its size. Empty logs too. Raises Unavailable."""
        wanted, size = hashlib.sha256(), 0
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
            reader = PartsReader(self)
            async for text in reader.more(final=True):
                wanted.update(text)
                size += file.write(text)
            if reader.superseded:
                raise Unavailable(f"the log {self.path} was archived by another meanwhile")
            if note:
                line = _note(note)
                wanted.update(line)
                size += file.write(line)
            file.seek(0)
            await self._objects.put(self.path, file)
        found = hashlib.sha256()
        async for chunk in self._objects.read(self.path):
            found.update(chunk)
        if found.digest() != wanted.digest():
            raise Unavailable(f"the archived log {self.path} is not what was written")
        return size

    async def clear_parts(self) -> None:
        """Remove the parts, which the archived log has made needless. Raises Unavailable."""
        while not await self._objects.clear(self._folder):
            continue

    async def chunks(self, start: int) -> AsyncIterator[bytes]:
        """The archived log from a byte on. Raises NotFound, Unavailable."""
        skip = start
        async for chunk in self._objects.read(self.path):
            if skip < len(chunk):
                yield chunk[skip:]
            skip = max(0, skip - len(chunk))


class PartsReader:
    """Reads the parts of a log as they come, without their times."""

    def __init__(self, log: JobLog) -> None:
        self._log = log
        self._pod = ""
        self._offset = 0
        self._carry = b""
        """The beginning of a line whose end is in the next part."""
        self.superseded = False
        """The log was archived meanwhile and its parts go one by one: what follows stands in the archived log."""

    async def more(self, *, final: bool = False) -> AsyncIterator[bytes]:
        """What has come since the last call; `final`: nothing further comes. Raises Unavailable."""
        for part in await self._log.parts():
            if part.pod < self._pod or (part.pod == self._pod and part.end <= self._offset):
                continue
            try:
                content = await self._log.read(part)
            except NotFound:
                if await self._log.archived() is None:
                    continue  # it was left out since it was listed
                self.superseded = True
                return
            if part.pod != self._pod:
                for text in self._rest():
                    yield text
                self._pod, self._offset = part.pod, 0
            if part.offset > self._offset:
                for text in self._rest():
                    yield text
                yield _note(f"{part.offset - self._offset} bytes are left out here")
                self._offset = part.offset
            content = content[self._offset - part.offset :]
            self._offset += len(content)
            lines, newline, self._carry = (self._carry + content).rpartition(b"\n")
            if newline:
                yield b"".join(untimed(line) + b"\n" for line in lines.split(b"\n"))
        if final:
            for text in self._rest():
                yield text

    def _rest(self) -> list[bytes]:
        """A last line that has no end."""
        carry, self._carry = self._carry, b""
        return [untimed(carry) + b"\n"] if carry else []


def check_shared(settings: Settings) -> None:
    """Raises UsageError where the logs of Jobs would be kept in a pod's own directory, where the API never finds them.

    Whoever means one directory for all says so by naming it. Outside a cluster the log directory is one that API and workers
    of this machine share.
    """
    if settings.log_uri or not settings.in_pod:
        return
    if KUBERNETES not in Placement.parse(settings.executors, "", {}).executors:
        return
    raise UsageError(
        "HEADRACE_LOG_URI is not set: the logs of Jobs would be kept in this pod alone and go with it. Name a place that all "
        "workers and the API reach: s3://BUCKET/PREFIX, or file:PATH of a volume that all of them mount (ReadWriteMany; "
        "k8s/components/log-volume does both)."
    )


def untimed(line: bytes) -> bytes:
    """A line without the time before it."""
    time, space, text = line.partition(b" ")
    return text if space and _TIME.fullmatch(time) else line


def moment(word: bytes) -> bytes:
    """A time before a line, in UTC with nine digits behind the second, so that bytes compare as times do; empty for no time.

    A machine writes it in its own zone.
    """
    found = _TIME.fullmatch(word)
    if found is None:
        return b""
    second, fraction, zone = found.groups(default=b"")
    if zone != b"Z":
        try:
            local = datetime.fromisoformat((second + zone).decode())
            second = local.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
        except (ValueError, OverflowError):
            return b""
    return second + b"." + fraction.ljust(9, b"0") + b"Z"


def _note(text: str) -> bytes:
    return f"[headrace: {text}]\n".encode()
