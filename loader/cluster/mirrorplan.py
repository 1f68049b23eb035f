"""Which mirror objects a load writes, and what is against it; pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from loader.cluster.finding import Finding
from loader.cluster.mirrorsets import (
    DIGEST_KINDS,
    ICSP,
    IDMS,
    ITMS,
    MirrorWay,
    choose_kind,
    converted,
    emptied,
    never_contacts,
)
from loader.cluster.nodeside import NodeSide
from loader.cluster.objects import objects_in, text
from loader.cluster.preflight import rosa_findings
from loader.cluster.wishes import Wish


class MirrorPlan:
    """The choice among the kinds a bundle has, made once for a load."""

    def __init__(self, wishes: Sequence[Wish], served: Sequence[str], side: NodeSide, way: MirrorWay) -> None:
        self._wishes = [wish for wish in wishes if wish.key.kind in DIGEST_KINDS]
        self._served = served
        self._tags = any(wish.key.kind == ITMS for wish in wishes)
        self._side = side
        self._way = way
        name = next((wish.key.name for wish in self._wishes), "")
        kinds = {wish.key.kind for wish in self._wishes} & set(served)
        self._choice = choose_kind(name, kinds, side.mirror_objects, side.rules.version, way)

    def reason_against(self, wishes: Sequence[Wish]) -> str:
        """Return why a mirror document with ``wishes`` is skipped, an empty string where it is not."""
        if self._way.mode != "cluster":
            return f"--mirrors {self._way.mode}"
        if not self._side.platform.takes_mirror_objects:
            return f"{self._side.platform.name} takes no mirror objects from its users"
        for kind in (wish.key.kind for wish in wishes if wish.method == "mirror"):
            if kind not in self._served:
                return f"{kind} is not served by this cluster"
            if kind in DIGEST_KINDS and kind != self._choice.kind and not (kind == ICSP and self._choice.old):
                return self._choice.reason
        return ""

    def adapted(self, wish: Wish) -> Wish:
        """Return ``wish`` as this load has it: with the entries of a kind given up, or without those pruned."""
        if wish.method != "mirror":
            return wish
        old, body = self._choice.old, wish.body
        if old is not None and wish.key.kind == ICSP:
            return dataclasses.replace(wish, body=emptied(body), exact=True)
        if old is not None and wish.key.kind == IDMS and not self._way.prune:
            body = converted(old, body)
        return dataclasses.replace(wish, body=body, exact=self._way.prune)

    def findings(self) -> list[Finding]:
        """Return what keeps this cluster from taking the bundle's mirrors."""
        if not self._wishes or self._way.mode != "cluster":
            return []
        platform, kind = self._side.platform, self._choice.kind
        if not platform.takes_mirror_objects:
            text_ = f"this cluster is {platform.name}: its mirrors are not set by objects of its own API"
            return [Finding("blocker", text_, platform.by_hand)]
        if kind is None:
            text_ = "this cluster serves neither ImageDigestMirrorSet nor ImageContentSourcePolicy"
            return [Finding("blocker", text_, platform.by_hand)]
        found = list(rosa_findings(self._side, self._sources()))
        if self._tags and ITMS not in self._served:
            text_ = f"the bundle mirrors pulls by tag, and this cluster does not serve {ITMS}"
            found.append(Finding("warning", text_, "name images by digest, or update OpenShift to 4.13 or newer"))
        if kind == ICSP and any(never_contacts(wish.body) for wish in self._wishes):
            text_ = f"the bundle says NeverContactSource, which {ICSP} cannot ({self._choice.reason})"
            hint = "build it with neverContactSource: false, or use --migrate-icsp where both kinds are served"
            found.append(Finding("blocker", text_, hint))
        if kind == ICSP and self._way.migrate and IDMS in self._served:
            text_ = f"--migrate-icsp does nothing here: {self._choice.reason}"
            found.append(Finding("warning", text_, "update OpenShift first"))
        return found

    def _sources(self) -> list[str]:
        lists = ("imageDigestMirrors", "repositoryDigestMirrors")
        return [
            text(item, "source") for wish in self._wishes for n in lists for item in objects_in(wish.body, "spec", n)
        ]
