"""The line a person types where Helm installed Rook."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.bundle.manifest import Document, When
from loader.charts import helm_finding, helm_lines, helm_pending, lines_by_hand, values_of
from loader.chartvalues import first_line
from loader.cluster.owners import Release
from loader.site import SiteDocument

RELEASE = Release("rook", "storage", "rook-ceph", "v1.4.9", "Deployment/rook-ceph-operator in storage")


def document(path: str, content: str) -> SiteDocument:
    return SiteDocument(
        Document(path, "rook", "file", None, None, When(None, None), "skip"), f"{content}\nimage:\n".encode(), None
    )


VALUES = document("documents/helm/rook-ceph.yaml", first_line("rook-ceph", "v1.5.0"))


def test_the_line_names_release_chart_and_values() -> None:
    (line,) = helm_lines([RELEASE, RELEASE], [VALUES], Path("out folder"))
    command, values = line.split(" --reset-then-reuse-values ")
    assert command == "helm upgrade rook rook-ceph-v1.5.0.tgz --namespace storage"
    assert values == "--values 'out folder/documents/helm/rook-ceph.yaml'"
    same = Release("rook", "storage", "rook-ceph", "v1.5.0", "")
    assert "--reuse-values " in helm_lines([same], [VALUES])[0]


def test_the_finding_and_the_end_of_the_load_say_it() -> None:
    (line,) = helm_lines([RELEASE], [VALUES])
    finding = helm_finding([RELEASE], [VALUES])
    assert finding.level == "warning"
    assert "Helm's release storage/rook: it is not patched" in finding.text
    assert line in finding.hint
    pending = helm_pending([RELEASE], [VALUES], Path())
    assert pending.hint == f"{line}; then the same command goes on"
    assert pending.exit_code == 8


def test_a_bundle_without_values_says_so() -> None:
    odd = document("documents/helm/rook-ceph.yaml", "# something else")
    other = document("documents/rook/x.yaml", first_line("rook-ceph", "v1.5.0"))
    assert values_of([odd, other]) == (odd,)
    for documents in ([], [odd], [other]):
        assert helm_lines([RELEASE], documents) == ()
        assert "this one has no values for Helm" in helm_pending([RELEASE], documents, Path()).hint
        assert "this one has no values for Helm" in helm_finding([RELEASE], documents).hint


def test_lines_by_hand_are_for_the_usual_names() -> None:
    title, line = lines_by_hand({VALUES.document.path: VALUES.content, "documents/rook/x.json": b"{}"})
    assert title == "# where Helm installed Rook, in place of the patches of Rook above:"
    command, values = line.split(" --reset-then-reuse-values ")
    assert command == "#   helm upgrade rook-ceph rook-ceph-v1.5.0.tgz --namespace rook-ceph"
    assert values == "--values documents/helm/rook-ceph.yaml"
    assert lines_by_hand({"documents/rook/x.json": VALUES.content, "documents/helm/y.yaml": b"x"}) == ()


@pytest.mark.parametrize(("version", "count"), [("v1.19.10", 0), ("v1.20.0", 1)])
def test_the_chart_that_rook_needs_beside_its_own_is_named(version: str, count: int) -> None:
    values = document("documents/helm/rook-ceph.yaml", first_line("rook-ceph", version))
    texts = [
        helm_finding([RELEASE], [values]).hint,
        helm_pending([RELEASE], [values], Path()).hint,
        "\n".join(lines_by_hand({values.document.path: values.content})),
    ]
    assert [text.count("ceph-csi-drivers") for text in texts] == [count] * 3
