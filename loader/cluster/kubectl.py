"""One oc or kubectl as an object: reads, writes and reviews, JSON in and out, every failure explained.

Bodies travel on stdin, never in an argument list, which any user of the host may read.
"""

from __future__ import annotations

import datetime
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Optional

from loader.bundle.errors import ClusterError, ConfigError
from loader.cluster.answers import garbage, json_objects
from loader.cluster.failures import (
    RETRYABLE,
    Cause,
    diagnose,
    last_words,
    owners_in_conflict,
    shell_line,
    warnings,
)
from loader.cluster.objects import MANAGER, JsonObject, Key, key_of, listed, objects_in, text, with_version
from loader.cluster.process import Finished, Runner

PROGRAMS = ("oc", "kubectl")
PATCH_TYPES = ("merge", "strategic")
_DATE = re.compile(r"Date: ([A-Z][a-z]{2}, [0-3][0-9] [A-Z][a-z]{2} 2[0-9]{3} [0-2][0-9]:[0-5][0-9]:[0-5][0-9] GMT)")
_CLIENT = re.compile(r"User-Agent: ([a-z][a-z0-9.-]{0,30})/v?([0-9]{1,3}\.[0-9]{1,4}[0-9A-Za-z.+-]{0,40}) ")
# One argument of execve(2) is limited to 128 KiB.
_MAX_ARGUMENT = 128 * 1024 - 1


@dataclass(frozen=True)
class Call:
    """One finished call, for -v: the line a person would type, seconds, exit status, the client's warnings."""

    line: str
    seconds: float
    status: int
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        ended = "" if self.status == 0 else f", status {self.status}"
        return "\n".join([f"$ {self.line} ({self.seconds * 1000:.0f} ms{ended})", *self.warnings])


@dataclass(frozen=True)
class Greeting:
    """What the first answer tells: the server's API groups, its clock, and the client by name and version."""

    groups: Mapping[str, Any]
    clock: Optional[datetime.datetime] = None
    client: str = ""


def find_program(path_lookup: Callable[[str], Optional[str]]) -> str:
    """Return the path of oc, else of kubectl; ``path_lookup`` is ``shutil.which`` with the user's PATH."""
    for name in PROGRAMS:
        found = path_lookup(name)
        if found:
            return found
    raise ClusterError(
        "neither oc nor kubectl is on PATH",
        why="the loader changes a cluster through one of them",
        hint="install the openshift-clients package (oc) or kubectl; --no-apply writes the documents instead",
    )


class Kubectl:
    """One client program bound to a kubeconfig and a context.

    ``request_timeout`` (seconds) bounds every request, and with it every call. Every method raises ``ClusterError``
    with the command line, the exit status and the last lines of stderr; what callers decide on (not found, already
    there, changed meanwhile) is a None instead.
    """

    def __init__(
        self,
        program: str,
        run: Runner,
        *,
        kubeconfig: Path | None = None,
        context: str | None = None,
        request_timeout: float = 30.0,
        cache_dir: Path | None = None,
        only_server: str | None = None,
        trace: Callable[[Call], None] | None = None,
    ) -> None:
        self._run = run
        self._timeout = request_timeout
        self._trace = trace
        self._only_server = only_server
        self._base = [
            program,
            *([f"--kubeconfig={kubeconfig}"] if kubeconfig else []),
            *([f"--context={context}"] if context else []),
            *([f"--cache-dir={cache_dir}"] if cache_dir else []),
            f"--request-timeout={request_timeout:g}s",
        ]
        self._patch_file = True

    def config(self) -> dict[str, Any]:
        """Return the part of the kubeconfig in use, credentials already blanked by the client; keep its context.

        A later `oc login` or `oc project` in another terminal changes the current context of the same file: what was
        shown to a person and agreed to must stay the cluster that is written to.
        """
        found = self._single(["config", "view", "--minify", "-o", "json"], "reading the kubeconfig")
        servers = [text(one, "cluster", "server") for one in objects_in(found, "clusters")]
        if self._only_server is not None and servers != [self._only_server]:
            raise ConfigError(
                f"the kubeconfig leads to {', '.join(servers) or 'no server'}, not to this site's cluster",
                why=f"site.toml allows {self._only_server} alone",
                hint="--context or --kubeconfig picks the cluster, --site FILE another site",
            )
        context = text(found, "current-context")
        if context and not any(part.startswith("--context=") for part in self._base):
            self._base.append(f"--context={context}")
        return found

    def get_raw(self, path: str, *, if_allowed: bool = False) -> Optional[dict[str, Any]]:
        """Return the JSON object at an API path; None where nothing is served there.

        With ``if_allowed`` also where this login may not read it.
        """
        finished, cause, error = self._call(["get", "--raw", path], f"reading {path}")
        if cause in {Cause.NOT_FOUND, Cause.NO_MATCH} or (if_allowed and cause is Cause.FORBIDDEN):
            return None
        return self._only(_checked(finished, error), f"reading {path}")

    def create_raw(self, path: str, body: Mapping[str, Any]) -> Optional[dict[str, Any]]:
        """POST ``body`` to an API path and return the answer; None where nothing is served there."""
        finished, cause, error = self._call(["create", "--raw", path, "-f", "-"], f"asking {path}", _encode(body))
        if cause in {Cause.NOT_FOUND, Cause.NO_MATCH}:
            return None
        return self._only(_checked(finished, error), f"asking {path}")

    def get(self, resource: str, namespace: str | None, name: str) -> Optional[dict[str, Any]]:
        """Return one object, None where it is not there; ``resource`` is qualified: ``deployments.apps``."""
        argv = ["get", resource, name, *_in(namespace), "-o", "json"]
        finished, cause, error = self._call(argv, f"reading {resource}/{name}")
        if cause is Cause.NOT_FOUND:
            return None
        return self._only(_checked(finished, error), f"reading {resource}/{name}")

    def get_all(self, keys: Sequence[Key]) -> tuple[dict[str, Any], ...]:
        """Return those of the named objects that are there, in one call."""
        if not keys:
            return ()
        what = f"reading {_some(keys)}"
        argv = ["get", "--ignore-not-found", "-f", "-", "-o", "json"]
        finished, _, error = self._call(argv, what, _encode(listed([key.stub() for key in keys])), len(keys))
        return json_objects(_checked(finished, error), what)

    def read(self, keys: Iterable[Key]) -> dict[Key, JsonObject]:
        """Return those of the named objects that are there, by key, in one call."""
        return {key_of(item, "an object of the cluster"): item for item in self.get_all(tuple(keys))}

    def list_all(self, resources: Sequence[str], namespace: str | None = None) -> tuple[dict[str, Any], ...]:
        """Return all objects of ``resources`` (``nodes``, ``machineconfigs.GROUP``), in one call.

        Of namespaced ones those in ``namespace``; it means nothing to the others.
        """
        what = f"listing {', '.join(resources)}"
        finished, _, error = self._call(["get", ",".join(resources), *_in(namespace), "-o", "json"], what)
        return json_objects(_checked(finished, error), what)

    def namespaced_resources(self) -> tuple[str, ...]:
        """Return every resource that is listed by namespace, qualified, as discovery has them now."""
        what = "asking what is served"
        argv = ["api-resources", "--namespaced=true", "--verbs=list", "-o", "name"]
        finished, _, error = self._call(argv, what)
        return tuple(_checked(finished, error).stdout.decode("utf-8", "replace").split())

    def greet(self) -> Greeting:
        """Ask for the API groups; the same call tells the server's clock (Date, whole seconds) and the client version.

        The client prints headers from verbosity 8 on, a token as ``<masked>`` since always; none of it is kept.
        """
        finished, _, error = self._call(["get", "--raw", "/apis", "-v=8"], "reading /apis")
        _checked(finished, error)
        date, client = _DATE.search(_words(finished)), _CLIENT.search(_words(finished))
        return Greeting(
            self._only(finished, "reading /apis"),
            parsedate_to_datetime(date[1]) if date else None,
            " ".join(client.groups()) if client else "",
        )

    def create(self, body: Mapping[str, Any], what: str, *, dry_run: bool = False) -> Optional[dict[str, Any]]:
        """Create one object and return it as stored; None where it is there already."""
        argv = ["create", "-f", "-", "-o", "json", *_dry(dry_run)]
        manager = [f"--field-manager={MANAGER}"]
        finished, cause, error = self._call([*argv, *manager], f"creating {what}", _encode(body))
        if cause is Cause.NO_FLAG:  # kubectl 1.18, the oc of OpenShift 4.5
            finished, cause, error = self._call(argv, f"creating {what}", _encode(body))
        if cause is Cause.EXISTS:
            return None
        return self._only(_checked(finished, error), f"creating {what}")

    def review(self, reviews: Sequence[Mapping[str, Any]], what: str) -> tuple[dict[str, Any], ...]:
        """POST access reviews, all in one call, and return the answers in the same order."""
        body = _encode(listed([dict(review) for review in reviews]))
        finished, _, error = self._call(["create", "-f", "-", "-o", "json"], what, body, len(reviews))
        return json_objects(_checked(finished, error), what)

    def apply(
        self,
        items: Sequence[Mapping[str, Any]],
        versions: Sequence[Optional[str]],
        what: str,
        *,
        dry_run: bool = False,
        path: str = "",
    ) -> tuple[dict[str, Any], ...]:
        """Apply objects server-side under our field manager and return them as stored.

        ``versions`` are the resourceVersions that were read before, None for what was not there. A field of any other
        manager is never forced. One that an earlier patch of ours owns is, guarded by the version: the API server
        keeps the two ways of writing apart although the manager is the same. ``path`` is the document they are of, for
        whoever wants to take fields over by hand.
        """
        finished, cause, error = self._apply(items, what, _dry(dry_run))
        owners = owners_in_conflict(_words(finished)) if cause is Cause.CONFLICT else frozenset()
        if owners and len(items) > 1:
            # The client does not say which object it is.
            each = zip(items, versions)
            return tuple(self.apply([i], [v], what, dry_run=dry_run, path=path)[0] for i, v in each)
        if owners - {MANAGER} and error is not None:
            error = _contested(error, key_of(items[0], what), Path(self._base[0]).name, path)
        elif owners == {MANAGER}:
            guarded = with_version(items[0], versions[0])
            finished, cause, error = self._apply([guarded], what, ["--force-conflicts", *_dry(dry_run)])
        return json_objects(_checked(finished, error), f"applying {what}")

    def delete(self, path: str, what: str, *, uid: str | None = None) -> bool:
        """Delete the object at an API path in the background; False where it is not there.

        With ``uid`` only that object: one of the same name made since is a Conflict, which is a ``ClusterError``.
        """
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        body = {**options, **({"preconditions": {"uid": uid}} if uid else {})}
        finished, cause, error = self._call(["delete", "--raw", path, "-f", "-"], f"deleting {what}", _encode(body))
        if cause is not Cause.NOT_FOUND:
            _checked(finished, error)
        return cause is not Cause.NOT_FOUND

    def logs(self, namespace: str, target: str, *, lines: int = 400) -> str:
        """Return the last ``lines`` of what a workload's container printed; ``target`` is ``deployment/NAME``."""
        argv = ["logs", target, *_in(namespace), f"--tail={lines}"]
        finished, _, error = self._call(argv, f"reading the log of {target}")
        return _checked(finished, error).stdout.decode("utf-8", "replace")

    def _apply(
        self, items: Sequence[Mapping[str, Any]], what: str, flags: list[str]
    ) -> tuple[Finished, Optional[Cause], Optional[ClusterError]]:
        argv = ["apply", "--server-side", f"--field-manager={MANAGER}", "-f", "-", "-o", "json", *flags]
        return self._call(argv, f"applying {what}", _encode(listed([dict(item) for item in items])), len(items))

    def patch(
        self, key: Key, patch_type: str, body: Mapping[str, Any], *, dry_run: bool = False
    ) -> Optional[dict[str, Any]]:
        """Patch one object and return it as stored; None where it changed meanwhile (409).

        ``body`` should carry the ``metadata.resourceVersion`` it was computed for.
        """
        finished, cause, error = self._patch(key, patch_type, _encode(body), _dry(dry_run))
        if cause is Cause.CONFLICT:
            return None
        return self._only(_checked(finished, error), f"patching {key}")

    def _patch(
        self, key: Key, patch_type: str, body: bytes, dry: list[str]
    ) -> tuple[Finished, Optional[Cause], Optional[ClusterError]]:
        if patch_type not in PATCH_TYPES:
            raise RuntimeError(f"no such patch type: {patch_type}")
        base = ["patch", key.resource, key.name, *_in(key.namespace), f"--type={patch_type}", "-o", "json"]
        base += [f"--field-manager={MANAGER}", *dry]
        if self._patch_file:
            answer = self._call([*base, "--patch-file=/dev/stdin"], f"patching {key}", body)
            if answer[1] is not Cause.NO_FLAG:
                return answer
            self._patch_file = False
        # oc 4.6 and older have no --patch-file; their --field-manager for patch is as young.
        if key.kind == "Secret" or len(body) > _MAX_ARGUMENT:
            raise ClusterError(
                f"{key} cannot be patched with this client",
                why="it has no --patch-file, and this body must not stand in an argument list",
                hint="install oc 4.7 or kubectl 1.20, or newer",
            )
        old = [part for part in base if not part.startswith("--field-manager")]
        return self._call([*old, "--patch", body.decode("ascii")], f"patching {key}")

    def _single(self, argv: list[str], what: str) -> dict[str, Any]:
        finished, _, error = self._call(argv, what)
        return self._only(_checked(finished, error), what)

    def _only(self, finished: Finished, what: str) -> dict[str, Any]:
        found = json_objects(finished, what, flatten=False)
        if len(found) != 1:
            raise garbage(finished, what, f"{len(found)} JSON objects instead of one")
        return found[0]

    def _call(
        self, argv: list[str], what: str, stdin: bytes = b"", objects: int = 1
    ) -> tuple[Finished, Optional[Cause], Optional[ClusterError]]:
        full = [*self._base, *argv]
        started = time.monotonic()
        finished = self._run(full, stdin=stdin, timeout=2 * self._timeout + objects)
        seconds = time.monotonic() - started
        stderr = _words(finished)
        line = shell_line(full)
        if self._trace is not None:
            self._trace(Call(line, seconds, finished.status, warnings(stderr)))
        if finished.status == 0:
            return finished, None, None
        cause, hint = diagnose(stderr)
        end = (
            f"ended with status {finished.status}" if finished.status > 0 else f"was ended by signal {-finished.status}"
        )
        why = f"`{line}` {end}: {last_words(stderr)}"
        return finished, cause, ClusterError(f"{what} failed", why=why, hint=hint, retryable=cause in RETRYABLE)


def _contested(error: ClusterError, key: Key, program: str, path: str) -> ClusterError:
    """Return ``error`` with the object's name and the line that takes a document's fields over: a load never does."""
    if not path:
        return ClusterError(f"{key}: {error.message}", why=error.why, hint=error.hint)
    line = shell_line(
        [program, "apply", "--server-side", "--force-conflicts", f"--field-manager={MANAGER}", "-f", path]
    )
    hint = (
        f"settle who owns it; to take all of the document over, in the folder that `extract --documents` wrote: {line}"
    )
    return ClusterError(f"{key}: {error.message}", why=error.why, hint=hint)


def _checked(finished: Finished, error: Optional[ClusterError]) -> Finished:
    if error is not None:
        raise error
    return finished


def _words(finished: Finished) -> str:
    return finished.stderr.decode("utf-8", "replace")


def _encode(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _in(namespace: str | None) -> list[str]:
    return [f"--namespace={namespace}"] if namespace else []


def _dry(dry_run: bool) -> list[str]:
    return ["--dry-run=server"] if dry_run else []


def _some(keys: Sequence[Key]) -> str:
    return str(keys[0]) if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
