"""``-v``, the log and ``--limit-rate`` of a push, from outside."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from tests.support.carried import Carried, carry
from tests.support.cli import Cli
from tests.support.images import make_image
from tests.support.registry import RegistryServer
from tests.support.registryrules import Rules


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Carried:
    image = make_image(platforms=["linux/amd64"], layer_size=3_000_000)
    return carry(Cli(tmp_path_factory.mktemp("carried")), {"team/app:v1": image})


def logs(carried: Carried, registry: RegistryServer) -> str:
    folder = carried.cli.folder / f"state-{registry.store.directory.name}" / "logs"
    return "".join(path.read_text() for path in folder.iterdir())


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_requests_and_retries_are_shown_and_no_secret(auth: str, carried: Carried, tmp_path: Path) -> None:
    with RegistryServer(rules=Rules(auth=auth)) as registry:
        user, password = registry.rules.login
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        authfile = tmp_path / "auth.json"
        authfile.write_text(json.dumps({"auths": {registry.host: {"auth": login}}}))
        registry.fail("status", method="PUT", path="/blobs/", status=503, body=b"come back later")
        ran = carried.push(registry, "-v", "--authfile", authfile).expect()
        for text in (ran.err, logs(carried, registry)):
            assert f"HEAD http://{registry.host}/v2/team/app/manifests/v1 404 " in text
            assert "again in" in text
            assert "come back later" in text
            for secret in (password, login, "state=", "Basic ", "Bearer ", *registry.tokens):
                assert secret not in text
        quiet = carried.push(registry, "--authfile", authfile).expect()
        assert "HEAD" not in quiet.err + quiet.out
        assert logs(carried, registry).count("HEAD") > ran.err.count("HEAD")


def test_the_rate_is_kept(carried: Carried) -> None:
    with RegistryServer() as registry:
        started = time.monotonic()
        carried.push(registry, "--limit-rate", "1500k").expect()
        # 3,000,000 bytes are 1.95 s of the rate, of which a quarter second may come at once.
        assert time.monotonic() - started > 1.7
        assert carried.arrived(registry, "team/app:v1")


def test_a_rate_that_is_none_is_a_usage_error(carried: Carried) -> None:
    with RegistryServer() as registry:
        ran = carried.push(registry, "--limit-rate", "fast").expect(2)
        assert "--limit-rate" in ran.three_lines[0]
        assert registry.requests == []
