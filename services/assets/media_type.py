"""Which media type bytes really are, told from their signature alone."""

# Offset and bytes of each signature, all of which must be there (the media types' own specifications).
SIGNATURES: dict[str, tuple[tuple[int, bytes], ...]] = {
    "image/png": ((0, b"\x89PNG\r\n\x1a\n"),),
    "image/jpeg": ((0, b"\xff\xd8\xff"),),
    "image/webp": ((0, b"RIFF"), (8, b"WEBP")),
    "video/mp4": ((4, b"ftyp"),),
}
SIGNATURE_BYTES = 12


def sniff_media_type(head: bytes) -> str:
    """Return the IANA media type of a file that begins with `head`; empty when it is none that is accepted.

    `head` needs `SIGNATURE_BYTES` bytes to tell; fewer are never mistaken for more.
    """
    for media_type, parts in SIGNATURES.items():
        if all(head[offset : offset + len(signature)] == signature for offset, signature in parts):
            return media_type
    return ""
