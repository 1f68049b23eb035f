"""From options and environment to registry clients: the one place where all of this package meets."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from functools import cache, partial
from http import HTTPStatus
from typing import Optional

from loader.bundle.errors import ConfigError, RegistryError
from loader.oci.credentials import Credential, Credentials, HelperRunner
from loader.oci.environment import AccessOptions, Environment
from loader.oci.exchange import Exchange
from loader.oci.http import Transport
from loader.oci.model import ImageRef
from loader.oci.proxies import proxy_for
from loader.oci.rate import RateLimit
from loader.oci.registriesconf import RegistriesConf, load_registries_conf
from loader.oci.registry import Registry
from loader.oci.retry import RetryPolicy
from loader.oci.sources import RegistryImage, Repository, first_that_answers
from loader.oci.tls import find_tls_files, make_context


class Registries:
    """Clients by host, made when first asked for and shared; thread-safe.

    ``trace`` gets a line for every request and every retry, secrets left out; it is called from any thread.
    ``limit`` paces all of them together.
    """

    def __init__(
        self,
        options: AccessOptions,
        environment: Environment,
        *,
        retry: RetryPolicy,
        clock: Callable[[], float],
        run_helper: HelperRunner,
        trace: Callable[[str], None] = lambda _: None,
        limit: RateLimit | None = None,
    ) -> None:
        self._options = options
        self._environment = environment
        self._retry = dataclasses.replace(retry, trace=trace)
        self._trace = trace
        self._limit = limit
        self._clock = clock
        self._credentials = Credentials(
            environment,
            run_helper,
            authfile=options.authfile,
            helpers=lambda: self._registries_conf().credential_helpers,
        )
        self._lock = threading.Lock()
        self._conf: RegistriesConf | None = None
        self._made: dict[tuple[str, bool], Registry] = {}

    def image(self, ref: ImageRef) -> RegistryImage:
        """Find ``ref`` where registries.conf says, mirrors first, and read its manifest."""
        endpoints = self._registries_conf().pull_endpoints(ref)
        candidates = [(self._registry(one.host, one.insecure), one.repository) for one in endpoints]
        return first_that_answers(candidates, ref.reference)

    def beside(self, ref: ImageRef, found: RegistryImage) -> Repository:
        """Return where the tags beside ``found``, which ``ref`` named, are asked for.

        That is its own place, or the last of those for tags where ``found`` came from a mirror for digests alone.
        """
        try:
            endpoints = self._registries_conf().pull_endpoints(dataclasses.replace(ref, digest=None))
        except ConfigError:  # no place is for tags
            return found
        places = [(self._registry(one.host, one.insecure), one.repository) for one in endpoints]
        return found if (found.registry, found.repository) in places else Repository(*places[-1])

    def push(self, host: str, repository: str = "") -> Registry:
        """Return the client to push to ``host``: never a mirror; ``ConfigError`` when registries.conf blocks it."""
        return self._registry(host, self._registries_conf().push_is_insecure(host, repository))

    def trusts_more_than_system(self, host: str) -> bool:
        """Tell whether our connections to ``host`` rest on a CA of our own, or on no check at all."""
        unchecked = self._lax(self._registries_conf().push_is_insecure(host, ""))
        return unchecked or bool(find_tls_files(host, self._options, self._environment).authorities)

    def answers_anyone(self, host: str) -> bool:
        """Tell whether ``host`` lets in who has no login; a registry that fails to answer does not."""
        exchange = self._exchange(host, self._registries_conf().push_is_insecure(host, ""), lambda repository: None)
        try:
            return Registry(exchange).ping().authorized
        except RegistryError:
            return False
        finally:
            exchange.close()

    def try_login(self, host: str, credential: Credential) -> None:
        """Ask ``host`` with this login, whatever is kept of others; ``RegistryError`` where it is refused."""
        insecure = self._registries_conf().push_is_insecure(host, "")
        exchange = self._exchange(host, insecure, lambda repository: credential)
        try:
            if not Registry(exchange).ping().authorized:
                raise RegistryError(
                    f"{host} does not take this login",
                    status=HTTPStatus.UNAUTHORIZED,
                    why="it still asks for one",
                    hint="check user and password; nothing was written",
                )
        finally:
            exchange.close()

    def dates(self) -> dict[str, str]:
        """Return the ``Date`` of each host's last answer, those that gave one."""
        with self._lock:
            return {host: registry.date for (host, _), registry in self._made.items() if registry.date}

    def hang_up(self) -> None:
        """End every request that is under way, and all that follow: nobody waits for them any more."""
        with self._lock:
            made = tuple(self._made.values())
        for registry in made:
            registry.hang_up()

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            made, self._made = self._made, {}
        for registry in made.values():
            registry.close()

    def _registries_conf(self) -> RegistriesConf:
        with self._lock:
            if self._conf is None:
                self._conf = load_registries_conf(self._environment)
            return self._conf

    def _registry(self, host: str, insecure: bool) -> Registry:
        with self._lock:
            key = (host, insecure)
            if key not in self._made:
                self._made[key] = Registry(self._exchange(host, insecure, partial(self._credentials.find, host)))
            return self._made[key]

    def _lax(self, insecure: bool) -> bool:
        # An explicit --tls-verify beats registries.conf, in both directions (containers/image).
        return insecure if self._options.tls_verify is None else not self._options.tls_verify

    def _exchange(self, host: str, insecure: bool, find: Callable[[str], Optional[Credential]]) -> Exchange:
        options, lax = self._options, self._lax(insecure)
        files = find_tls_files(host, options, self._environment)
        context = cache(partial(make_context, files, self._environment, verify=not lax))
        transport = Transport(context, partial(proxy_for, environment=self._environment), timeout=options.timeout)
        schemes = ("http",) if options.plain_http else ("https", "http") if lax else ("https",)
        if "https" in schemes:
            context()  # a file that is no certificate is told before anybody is asked
        return Exchange(
            host,
            [(scheme, transport) for scheme in schemes],
            find,
            retry=self._retry,
            clock=self._clock,
            trace=self._trace,
            limit=self._limit,
        )
