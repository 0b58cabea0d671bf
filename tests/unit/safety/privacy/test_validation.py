"""The checks beyond the patterns, on published examples and their nearest wrong neighbours."""

import pytest

from services.safety.privacy import validation

SPECIMEN = "L898902C36UTO7408122F1204159ZE184226B<<<<<10"  # ICAO 9303-3, the specimen of its appendix


@pytest.mark.parametrize("number", ["4111111111111111", "378282246310005", "5555555555554444"])
def test_luhn(number: str) -> None:
    assert validation.luhn(number)
    for digit in range(10):
        changed = f"{number[:-1]}{digit}"
        assert validation.luhn(changed) == (changed == number)


@pytest.mark.parametrize("iban", ["GB82WEST12345698765432", "FR1420041010050500013M02606", "NO9386011117947"])
def test_mod97(iban: str) -> None:
    assert validation.mod97(iban) == 1
    assert validation.mod97(iban[:-2] + iban[-1] + iban[-2]) != 1 or iban[-1] == iban[-2]


def test_a_passports_zone_has_three_check_digits() -> None:
    assert validation.zone(SPECIMEN) == len(SPECIMEN)
    for place in (0, 9, 13, 19, 21, 27):
        other = "2" if SPECIMEN[place] != "2" else "3"
        assert not validation.zone(SPECIMEN[:place] + other + SPECIMEN[place + 1 :])


@pytest.mark.parametrize(
    ("text", "bits"), [("", 0.0), ("aaaa", 0.0), ("ab", 1.0), ("abcd", 2.0), ("0123456789abcdef", 4.0)]
)
def test_entropy(text: str, bits: float) -> None:
    assert validation.entropy(text) == pytest.approx(bits)


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "256.1.1.1", "1.2.3.04"])
def test_addresses_of_nobody(address: str) -> None:
    assert not validation.ipv4(address)


def test_a_token_is_read() -> None:
    assert validation.jwt("eyJhbGciOiJIUzI1NiJ9.e30.c2ln")
    assert not validation.jwt("eyJ0eXAiOiJKV1QifQ.e30.c2ln")  # names no algorithm
    assert not validation.jwt("eyJhbGci!.e30.c2ln")
