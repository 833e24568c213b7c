"""The documentation page: Swagger UI 5 from the package offapi, served from here, without any other host."""

from __future__ import annotations

from functools import cache
from importlib import resources

from app.api.http import Reply
from app.errors import NotFound

_CSP = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = b"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Headrace API</title>
<link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="docs/swagger-ui.js"></script><script src="docs/start.js"></script></body>
</html>
"""
_START = b"""SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true});
"""
_FILES = {
    "swagger-ui.css": ("swagger_style.css", b"text/css; charset=utf-8"),
    "swagger-ui.js": ("swagger_bundle.js", b"text/javascript; charset=utf-8"),
}


def page() -> Reply:
    """The page itself."""
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-security-policy", _CSP)]
    return Reply(200, _PAGE, headers)


def asset(name: str) -> Reply:
    """One of its files. Raises NotFound."""
    if name == "start.js":
        return Reply(200, _START, [(b"content-type", b"text/javascript; charset=utf-8")])
    if name not in _FILES:
        raise NotFound
    return Reply(200, _load(name), [(b"content-type", _FILES[name][1])])


@cache
def _load(name: str) -> bytes:
    return resources.files("offapi").joinpath(_FILES[name][0]).read_bytes()
