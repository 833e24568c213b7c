"""The operator's secrets: one file each, and a file that says where each may be sent. In a cluster both are mounted."""

from __future__ import annotations

from pathlib import Path

import yaml

from app.core.secrets import SecretRules
from app.errors import NotFound, UsageError
from app.settings import Settings

SHORTEST = 8
"""Characters of a secret at least: what is shorter could not be taken out of a text without harm to it."""
LONGEST = 8_192


def secret_rules(settings: Settings) -> SecretRules | None:
    """The rules of HEADRACE_SECRETS_ALLOW; None where it is not set. Raises UsageError."""
    if not settings.secrets_allow:
        return None
    try:
        return SecretRules.parse(yaml.safe_load(Path(settings.secrets_allow).read_text()) or {})
    except (OSError, UnicodeError, yaml.YAMLError):
        raise UsageError("The file of HEADRACE_SECRETS_ALLOW cannot be read, or is not YAML.") from None


class SecretFiles:
    """Reads a secret when it is needed, so that a changed one needs no restart."""

    def __init__(self, settings: Settings) -> None:
        self._folder = Path(settings.secrets_dir) if settings.secrets_dir else None
        self._rules = secret_rules(settings) or SecretRules()

    def read(self, name: str, url: str) -> str:
        """The secret for a call of a URL. Raises NotFound where there is none, or it may not be sent there."""
        refusal = self._rules.refusal(name, url)
        if refusal is not None:
            raise NotFound(refusal)
        value = self.value(name)
        if value is None:
            raise NotFound(
                f"the secret '{name}' is not there: no usable file of that name in HEADRACE_SECRETS_DIR"
            )
        return value

    def value(self, name: str) -> str | None:
        """The secret, wherever it is meant to go: for taking it out of texts. None where there is no usable one."""
        if self._folder is None:
            return None
        try:
            with (self._folder / name).open(encoding="utf-8") as file:
                text = file.read(LONGEST + 2).rstrip("\r\n")
        except (OSError, UnicodeError):
            return None
        usable = SHORTEST <= len(text) <= LONGEST and text.isascii() and text.isprintable()
        return text if usable else None
