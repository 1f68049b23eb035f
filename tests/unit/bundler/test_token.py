from __future__ import annotations

from pathlib import Path

import pytest

from bundler.token import TokenAddress, parse_address
from loader.bundle.errors import ConfigError

MODULE = "?module-path=/m.so"


def test_every_part_of_an_address() -> None:
    key = "token=The%20Builders;serial=01;object=key%3B1;id=%01%ff;type=private"
    found = parse_address(f"pkcs11:{key}{MODULE}&pin-source=file:/p")
    assert found == TokenAddress("/m.so", "The Builders", "01", "key;1", b"\x01\xff", Path("/p"))
    assert found.words == "token 'The Builders', object 'key;1', id 01ff"
    assert parse_address(f"pkcs11:object=a{MODULE}&pin-source=/p").pin_source == Path("/p")


@pytest.mark.parametrize(
    ("uri", "word"),
    [
        ("pkcs11:", "module-path"),
        ("pkcs11:object=a", "module-path"),
        (f"pkcs11:token=a{MODULE}", "no private key"),
        (f"pkcs11:object=a;type=cert{MODULE}", "no private key"),
        (f"pkcs11:object=a;object=b{MODULE}", "'object'"),
        (f"pkcs11:object={MODULE}", "'object'"),
        (f"pkcs11:object{MODULE}", "'object'"),
        (f"pkcs11:obiect=a{MODULE}", "'obiect'"),
        (f"pkcs11:object=a{MODULE}&module-path=/n.so", "'module-path'"),
        (f"pkcs11:object=a{MODULE}&pin-value=1234", "does not belong"),
    ],
)
def test_an_address_that_could_mean_something_else(uri: str, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(uri)
    assert word in f"{caught.value} {caught.value.hint}"
    assert "1234" not in f"{caught.value} {caught.value.hint}"
