"""Whether a chain of certificates and a key sign anything, found out before the first manifest, and why not."""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

CHAIN, KEY = "VMESH_SAFETY_C2PA_CHAIN", "VMESH_SAFETY_C2PA_KEY"

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_CURVES = {"secp256r1": b"es256", "secp384r1": b"es384", "secp521r1": b"es512"}


def anchor(chain: bytes) -> bytes:
    """Return the last certificate of a chain in PEM: what it says is trusted when it is met again."""
    return _BEGIN + chain.rpartition(_BEGIN)[2]


def ends(chain: bytes) -> datetime:
    """Return when the first certificate of a chain ends, that or an authority's; raises ValueError unless it is PEM."""
    return min(each.not_valid_after_utc for each in _certificates(chain))


def algorithm(chain: bytes, key: bytes) -> bytes:
    """Return C2PA's name of what the key signs with (C2PA 2.2, section 13.2).

    Raises ValueError with the setting and the rule: chain and key must be PEM and belong together, the key of a kind
    that C2PA knows, and today within the days of every certificate.
    """
    loaded, certificates, now = _private(key), _certificates(chain), datetime.now(UTC)
    for number, certificate in enumerate(certificates, 1):
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not begin <= now <= end:
            raise ValueError(
                f"{CHAIN}: certificate {number} of {len(certificates)} is valid from {begin:%Y-%m-%d} to "
                f"{end:%Y-%m-%d}, and today is {now:%Y-%m-%d}; renew it"
            )
    if loaded.public_key() != certificates[0].public_key():
        raise ValueError(f"{KEY}: must be the key of the first certificate in {CHAIN}")
    if isinstance(loaded, RSAPrivateKey):
        return b"ps256"
    if isinstance(loaded, Ed25519PrivateKey):
        return b"ed25519"
    curve = loaded.curve.name if isinstance(loaded, EllipticCurvePrivateKey) else ""
    if curve not in _CURVES:
        raise ValueError(f"{KEY}: must be on a curve of {', '.join(_CURVES)}, Ed25519 or RSA")
    return _CURVES[curve]


def _certificates(chain: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(chain)
    except ValueError:
        raise ValueError(
            f"{CHAIN}: must be certificates in PEM, the signer's first, the authority's last"
        ) from None


def _private(key: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError(f"{KEY}: must be PKCS 8 in PEM, without a passphrase") from None
