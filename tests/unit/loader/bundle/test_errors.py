from __future__ import annotations

from loader.bundle.errors import AirgapError, ConfigError, RegistryError


def test_an_error_in_one_line() -> None:
    assert (
        str(AirgapError("pulling x failed", why="no route", hint="look at the cable")) == "pulling x failed: no route"
    )
    assert str(AirgapError("pulling x failed")) == "pulling x failed"


def test_a_config_error_keeps_every_fault_in_order() -> None:
    error = ConfigError("wrong", faults=[("b", "one"), ("a", "two")])
    assert error.faults == (("b", "one"), ("a", "two"))
    assert not error.retryable


def test_a_registry_error_says_whether_to_try_again() -> None:
    error = RegistryError("busy", status=503, why="later", hint="wait", retryable=True)
    assert (error.status, error.why, error.hint, error.retryable) == (503, "later", "wait", True)
    assert RegistryError("gone").status == 0
