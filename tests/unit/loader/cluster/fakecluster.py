"""An API server in memory behind kubectl's command line: what a :class:`Runner` sees, without a process."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import Key, items_of, key_of
from loader.cluster.patches import overlaid, patched
from loader.cluster.process import Finished
from loader.cluster.survey import Resource
from tests.unit.loader.cluster.makers import ICSP, IDMS, RESOURCES

Item = dict[str, Any]


class FakeCluster:
    """Objects by key, every call recorded; ``on_write`` may change them first, ``on_store`` what is stored."""

    def __init__(self, *items: Item, resources: Sequence[Resource] = (*RESOURCES, IDMS, ICSP)) -> None:
        self.resources = tuple(resources)
        self.objects: dict[Key, Item] = {}
        self.lines: list[str] = []
        self.denied: frozenset[str] = frozenset()
        self.broken: dict[str, str] = {}
        self.client = "oc/4.14.0 (linux/amd64) kubernetes/a8bea1a"
        self.on_write: Callable[[str], None] = lambda line: None
        self.on_store: Callable[[Item], Item] = lambda item: item
        self._version = 100
        for item in items:
            self.put(item)

    def kubectl(self) -> Kubectl:
        return Kubectl("oc", self)

    def put(self, item: Item) -> Item:
        self._version += 1
        stored = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self._version), "uid": "5f0c"}}
        self.objects[key_of(item, "a stored object")] = stored
        return stored

    @property
    def writes(self) -> list[str]:
        """The lines that stored something; a review is posted and stores nothing."""
        verbs = {"create", "patch", "apply"}
        return [
            line for line in self.lines if line.split()[0] in verbs and "--dry-run" not in line and "--raw" not in line
        ]

    def __call__(self, argv: Sequence[str], *, stdin: bytes, timeout: float) -> Finished:
        words = [word for word in argv[1:] if not word.startswith(("--request-timeout", "--context"))]
        line = " ".join(words)
        body = json.loads(stdin) if stdin else {}
        review = body.get("kind") == "List" and words[0] == "create"
        self.lines.append("review" if review else line)
        for part, words_ in self.broken.items():
            if part in line:
                return _failed(words_)
        if review:
            return _done("".join(json.dumps(self._reviewed(item)) for item in body["items"]))
        if "--raw" in words:
            return self._raw(words[words.index("--raw") + 1])
        answer = {"config": self._config, "get": self._get, "create": self._create, "apply": self._apply}
        return self._patch(words, body) if words[0] == "patch" else answer[words[0]](line, body)

    def _config(self, line: str, body: Item) -> Finished:
        cluster = {"name": "c", "cluster": {"server": "https://api.site7:6443"}}
        context = {"name": "admin", "context": {"user": "kube:admin", "cluster": "c"}}
        return _done(json.dumps({"current-context": "admin", "clusters": [cluster], "contexts": [context]}))

    def _raw(self, path: str) -> Finished:
        if path == "/version":
            return _done('{"gitVersion": "v1.27.8"}')
        if path == "/apis":
            names = sorted({r.api_version for r in self.resources if "/" in r.api_version})
            groups = {"groups": [{"versions": [{"groupVersion": name}]} for name in names]}
            headers = f"I0101 00:00:00.000000 1 x.go:1]     User-Agent: {self.client}\n"
            return Finished(0, json.dumps(groups).encode(), headers.encode())
        if "labelSelector" in path:
            found = [item for key, item in self.objects.items() if key.kind == "Deployment"]
            return _done(json.dumps({"items": [i for i in found if "rook_cluster" in i["metadata"].get("labels", {})]}))
        served = [r for r in self.resources if path in {f"/apis/{r.api_version}", f"/api/{r.api_version}"}]
        if not served:
            return _failed("Error from server (NotFound): the server could not find the requested resource")
        rows = [{"name": r.plural, "kind": r.kind, "namespaced": r.namespaced} for r in served]
        return _done(json.dumps({"resources": [*rows, {"name": f"{rows[0]['name']}/status", "kind": "X"}]}))

    def _reviewed(self, review: Item) -> Item:
        wanted = review["spec"]["resourceAttributes"]
        return {**review, "status": {"allowed": f"{wanted['verb']} {wanted['resource']}" not in self.denied}}

    def _get(self, line: str, body: Item) -> Finished:
        if not body:
            return self._listed(line.split()[1].split(","))
        keys = [key_of(item, "a stub") for item in body["items"]]
        found = [self.objects[key] for key in keys if key in self.objects]
        return _done(json.dumps({"kind": "List", "items": found}) if found else "")

    def _listed(self, names: list[str]) -> Finished:
        plurals = {name.partition(".")[0] for name in names}
        kinds = {r.kind for r in self.resources if r.plural in plurals} | ({"Node"} if "nodes" in plurals else set())
        return _done(json.dumps({"kind": "List", "items": [i for k, i in self.objects.items() if k.kind in kinds]}))

    def _create(self, line: str, body: Item) -> Finished:
        self.on_write(line)
        if key_of(body, "a body") in self.objects:
            return _failed('Error from server (AlreadyExists): "x" already exists')
        return self._stored(line, body)

    def _apply(self, line: str, body: Item) -> Finished:
        self.on_write(line)
        done = []
        for item in items_of(body, "a body"):
            current = self.objects.get(key_of(item, "a body"))
            after = overlaid(current, item) if current else item
            done.append(json.loads(self._stored(line, after, current).stdout))
        return _done(json.dumps({"kind": "List", "items": done}))

    def _patch(self, words: list[str], body: Item) -> Finished:
        line = " ".join(words)
        self.on_write(line)
        key = next(key for key in self.objects if (key.resource, key.name) == (words[1], words[2]))
        current = self.objects[key]
        version = body.get("metadata", {}).get("resourceVersion")
        if version not in {None, current["metadata"]["resourceVersion"]}:
            return _failed("Error from server (Conflict): the object has been modified")
        patch_type = "strategic" if "--type=strategic" in words else "merge"
        return self._stored(line, patched(current, body, patch_type), current)

    def _stored(self, line: str, item: Item, current: Item | None = None) -> Finished:
        changed = self.on_store(item)
        if "--dry-run" in line or changed == current:
            return _done(json.dumps(changed))
        return _done(json.dumps(self.put(changed)))


def _done(stdout: str) -> Finished:
    return Finished(0, stdout.encode(), b"")


def _failed(stderr: str) -> Finished:
    return Finished(1, b"", stderr.encode())
