"""Messages that leave the process: short, printable, without secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

LIMIT = 2000
"""Longest message in characters."""
_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|PRIVATE|API_?KEY|ACCESS_?KEY", re.IGNORECASE
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Redactor:
    """Knows the secrets of this process, and takes them out of texts."""

    def __init__(self, secrets: Iterable[str] = (), environ: Mapping[str, str] | None = None) -> None:
        """`secrets` and the values of variables whose name looks like a secret's; shorter than 6 characters
        is none."""
        env = os.environ if environ is None else environ
        named = [value for name, value in env.items() if _SECRET_NAME.search(name)]
        self._secrets = sorted({text for text in (*secrets, *named) if len(text) >= 6}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text as it may be shown: control characters escaped, secrets as ***, cut at LIMIT."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
        return text if len(text) <= LIMIT else text[: LIMIT - 1] + "…"
