"""Media types by the ending of a file's name, the same on every machine.

Python's `mimetypes` reads the system's tables, so one file would have other types on another
machine; here is a fixed table of what the web serves. Text is announced as UTF-8, which the
answer's nosniff makes binding. Sources: IANA's registry, RFC 9239 (text/javascript), RFC 7763.
"""

from __future__ import annotations

DEFAULT = b"application/octet-stream"

_TEXT = {
    "css": "text/css",
    "csv": "text/csv",
    "htm": "text/html",
    "html": "text/html",
    "ics": "text/calendar",
    "js": "text/javascript",
    "log": "text/plain",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "txt": "text/plain",
    "vtt": "text/vtt",
    "xml": "text/xml",
}
_OTHER = {
    "aac": "audio/aac",
    "apng": "image/apng",
    "atom": "application/atom+xml",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "br": "application/octet-stream",  # brotli has a coding but no registered media type
    "flac": "audio/flac",
    "gif": "image/gif",
    "gz": "application/gzip",
    "ico": "image/vnd.microsoft.icon",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "jsonld": "application/ld+json",
    "m3u8": "application/vnd.apple.mpegurl",
    "m4s": "video/iso.segment",
    "map": "application/json",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpd": "application/dash+xml",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "otf": "font/otf",
    "pdf": "application/pdf",
    "png": "image/png",
    "rss": "application/rss+xml",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "ts": "video/mp2t",
    "ttf": "font/ttf",
    "wasm": "application/wasm",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "zip": "application/zip",
    "zst": "application/zstd",
}
_TABLE = {ending: f"{name}; charset=utf-8".encode() for ending, name in _TEXT.items()} | {
    ending: name.encode() for ending, name in _OTHER.items()
}
# Worth a stored coding beside them; the rest is compressed in itself.
_COMPRESSIBLE = frozenset(_TEXT) | {
    *("atom", "bmp", "ico", "json", "jsonld", "m3u8", "map", "mpd"),
    *("otf", "rss", "svg", "ttf", "wasm", "webmanifest"),
}


def media_type(name: str) -> bytes:
    """Content-Type for a file of this name; what is unknown is only bytes."""
    return _TABLE.get(_ending(name), DEFAULT)


def compressible(name: str) -> bool:
    """Whether codings of this file are looked for beside it."""
    return _ending(name) in _COMPRESSIBLE


def _ending(name: str) -> str:
    _stem, dot, ending = name.rpartition(".")
    return ending.lower() if dot else ""
