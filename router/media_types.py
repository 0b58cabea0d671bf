"""What a file is, read from its first bytes: what a server says of it is not asked. Pure."""

# Brands of ISO base media files that are pictures or sound alone, which nobody here asked for.
NO_VIDEO = {b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1", b"M4A ", b"M4B "}
HEAD_BYTES = 64
"""As much as is looked at."""


def media_type_of(data: bytes) -> str:
    """Return the media type of a PNG, JPEG, WebP, MP4 or WebM file, empty when it is none of these."""
    head = data[:HEAD_BYTES]
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp" and head[8:12] not in NO_VIDEO:
        return "video/mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3") and b"webm" in head:
        return "video/webm"
    return ""
