"""Registry clients for tests: an empty home, a sleeper that only notes, a clock that can be moved."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loader.oci.connect import Registries
from loader.oci.environment import AccessOptions, Environment
from loader.oci.rate import RateLimit
from loader.oci.registry import Registry
from loader.oci.retry import RetryPolicy
from tests.support.registry import RegistryServer


@dataclass
class FakeTime:
    """``slept`` has every pause asked for; time passes only by them and by hand."""

    now: float = 1_000.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


def no_helper(argv: Sequence[str], stdin: bytes) -> tuple[int, bytes]:
    raise FileNotFoundError(argv[0])


@dataclass
class Client:
    """One user on one machine: write into ``home`` and ``etc`` before the first request."""

    root: Path
    options: AccessOptions = field(default_factory=lambda: AccessOptions(plain_http=True, timeout=5))
    time: FakeTime = field(default_factory=FakeTime)
    traced: list[str] = field(default_factory=list)
    limit: RateLimit | None = None

    @property
    def environment(self) -> Environment:
        return Environment(home=self.root / "home", uid=1000, etc=self.root / "etc", run=self.root / "run")

    def login(self, key: str, username: str, password: str) -> None:
        path = self.environment.containers_config / "auth.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        auth = base64.b64encode(f"{username}:{password}".encode()).decode()
        path.write_text(json.dumps({"auths": {key: {"auth": auth}}}))

    @contextlib.contextmanager
    def registries(self) -> Iterator[Registries]:
        policy = RetryPolicy(sleep=self.time.sleep, random=lambda: 0.5, now=self.time.clock)
        made = Registries(
            self.options,
            self.environment,
            retry=policy,
            clock=self.time.clock,
            run_helper=no_helper,
            trace=self.traced.append,
            limit=self.limit,
        )
        try:
            yield made
        finally:
            made.close()

    @contextlib.contextmanager
    def to(self, server: RegistryServer | str) -> Iterator[Registry]:
        host = server if isinstance(server, str) else server.host
        with self.registries() as registries:
            yield registries.push(host)
