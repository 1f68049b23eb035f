from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from loader.bundle.errors import ClusterError, ConfigError
from loader.cluster.kubectl import Call, Kubectl, find_program
from loader.cluster.objects import Key
from loader.cluster.process import ProcessRunner
from tests.support.fakebin import FakeBin, Reply, fake_bin

DEPLOYMENT = Key("apps/v1", "Deployment", "rook-ceph", "rook-ceph-operator")
ITEM = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})


def client(tmp_path: Path, *replies: Reply, **options: Any) -> tuple[Kubectl, FakeBin]:
    fake = fake_bin(tmp_path / "bin", "oc", replies)
    return Kubectl(str(fake.path), ProcessRunner({"PATH": os.defpath}), **options), fake


def test_oc_is_preferred_then_kubectl() -> None:
    both = {"oc": "/a/oc", "kubectl": "/a/kubectl"}
    assert find_program(lambda name: both.get(name, "")) == "/a/oc"
    assert find_program(lambda name: "/a/kubectl" if name == "kubectl" else None) == "/a/kubectl"
    with pytest.raises(ClusterError, match="neither oc nor kubectl") as caught:
        find_program(lambda name: None)
    assert "install" in caught.value.hint


def test_flags_of_the_connection_come_first(tmp_path: Path) -> None:
    oc, fake = client(
        tmp_path, Reply(stdout="{}"), kubeconfig=Path("/k"), context="c", cache_dir=Path("/t"), request_timeout=5
    )
    oc.config()
    flags = ("--kubeconfig=/k", "--context=c", "--cache-dir=/t", "--request-timeout=5s")
    assert fake.calls()[0].argv == (*flags, "config", "view", "--minify", "-o", "json")


def test_context_in_use_is_kept_whatever_becomes_current_later(tmp_path: Path) -> None:
    oc, fake = client(tmp_path, Reply(stdout='{"current-context": "site7/api:6443/admin"}'))
    oc.config()
    oc.get_raw("/version")
    assert "--context=site7/api:6443/admin" in fake.calls()[1].argv


def test_get_raw_of_a_path_that_is_not_served(tmp_path: Path) -> None:
    words = "Error from server (NotFound): the server could not find the requested resource\n"
    oc, _ = client(tmp_path, Reply(("/apis/x",), stderr=words, status=1), Reply(stdout='{"a": 1}'))
    assert oc.get_raw("/apis/x") is None
    assert oc.create_raw("/apis/x", {}) is None
    assert oc.get_raw("/version") == {"a": 1}


def test_get_returns_none_only_for_not_found(tmp_path: Path) -> None:
    gone = 'Error from server (NotFound): imagedigestmirrorsets.config.openshift.io "x" not found\n'
    oc, fake = client(
        tmp_path,
        Reply(("imagedigestmirrorsets",), stderr=gone, status=1),
        Reply(("cephclusters",), stderr='error: the server doesn\'t have a resource type "cephclusters"', status=1),
    )
    assert oc.get("imagedigestmirrorsets.config.openshift.io", None, "x") is None
    with pytest.raises(ClusterError) as caught:
        oc.get("cephclusters.ceph.rook.io", "rook-ceph", "rook-ceph")
    assert "CRDs" in caught.value.hint
    assert "--namespace=rook-ceph" in fake.calls()[1].argv


@pytest.mark.parametrize(
    ("stdout", "names"),
    [
        ("", []),
        (ITEM, ["x"]),
        (json.dumps({"kind": "List", "items": [json.loads(ITEM)] * 2}), ["x", "x"]),
        (f"{ITEM}\n{ITEM}\n", ["x", "x"]),
    ],
)
def test_get_all_takes_every_form_of_answer(tmp_path: Path, stdout: str, names: list[str]) -> None:
    oc, fake = client(tmp_path, Reply(stdout=stdout))
    assert [item["metadata"]["name"] for item in oc.get_all([DEPLOYMENT])] == names
    assert json.loads(fake.calls()[0].stdin)["items"] == [DEPLOYMENT.stub()]


def test_nothing_to_read_starts_no_process(tmp_path: Path) -> None:
    oc, fake = client(tmp_path)
    assert oc.get_all([]) == ()
    assert fake.calls() == ()


def test_patch_body_travels_on_stdin(tmp_path: Path) -> None:
    oc, fake = client(tmp_path, Reply(stdout=ITEM))
    oc.patch(DEPLOYMENT, "strategic", {"spec": {"hidden": "s3cret"}})
    call = fake.calls()[0]
    assert call.argv[-1] == "--patch-file=/dev/stdin"
    assert "--type=strategic" in call.argv
    assert "s3cret" not in " ".join(call.argv)
    assert json.loads(call.stdin) == {"spec": {"hidden": "s3cret"}}


def test_conflict_and_exists_are_none(tmp_path: Path) -> None:
    oc, _ = client(
        tmp_path,
        Reply(("patch",), stderr="Error from server (Conflict): the object has been modified", status=1),
        Reply(("create",), stderr='Error from server (AlreadyExists): configmaps "x" already exists', status=1),
    )
    assert oc.patch(DEPLOYMENT, "merge", {}) is None
    assert oc.create(json.loads(ITEM), "ConfigMap/x") is None


def test_client_without_patch_file_gets_the_body_as_argument_once_found_out(tmp_path: Path) -> None:
    oc, fake = client(
        tmp_path, Reply(("--patch-file",), stderr="error: unknown flag: --patch-file", status=1), Reply(stdout=ITEM)
    )
    oc.patch(DEPLOYMENT, "strategic", {"spec": 1})
    oc.patch(DEPLOYMENT, "strategic", {"spec": 2})
    assert [call.argv[-1] for call in fake.calls()] == ["--patch-file=/dev/stdin", '{"spec":1}', '{"spec":2}']
    with pytest.raises(ClusterError, match="cannot be patched with this client"):
        oc.patch(Key("v1", "Secret", "a", "b"), "merge", {"data": {}})


def test_failure_names_the_line_the_status_and_the_words(tmp_path: Path) -> None:
    words = 'Warning: old\nError from server (Forbidden): cannot patch resource "deployments" in API group "apps"\n'
    calls: list[Call] = []
    oc, _ = client(tmp_path, Reply(stderr=words, status=1), trace=calls.append)
    with pytest.raises(ClusterError) as caught:
        oc.patch(DEPLOYMENT, "strategic", {})
    assert "Deployment/rook-ceph-operator in rook-ceph" in caught.value.message
    assert "patch deployment.apps rook-ceph-operator" in caught.value.why
    assert "status 1: Error from server (Forbidden)" in caught.value.why
    assert "`patch` `deployments.apps`" in caught.value.hint
    assert (calls[0].status, calls[0].warnings) == (1, ("Warning: old",))


def test_unreachable_server_is_retryable_and_a_refusal_is_not(tmp_path: Path) -> None:
    oc, _ = client(
        tmp_path,
        Reply(("/version",), stderr="The connection to the server 1.2.3.4:6443 was refused", status=1),
        Reply(stderr="error: You must be logged in to the server (Unauthorized)", status=1),
    )
    with pytest.raises(ClusterError) as first:
        oc.get_raw("/version")
    with pytest.raises(ClusterError) as second:
        oc.get_raw("/apis")
    assert (first.value.retryable, second.value.retryable) == (True, False)
    assert "oc login" in second.value.hint


@pytest.mark.parametrize("stdout", ["", "<html>", '{"a": 1', "[1]", "{} {}", '"text"', "[" * 100_000, '{"a": \x1b}'])
def test_garbage_is_an_error_not_a_crash(tmp_path: Path, stdout: str) -> None:
    oc, _ = client(tmp_path, Reply(stdout=stdout))
    with pytest.raises(ClusterError, match="not what was asked") as caught:
        oc.get_raw("/version")
    assert caught.value.why.isprintable()


def test_apply_is_server_side_and_never_forced(tmp_path: Path) -> None:
    oc, fake = client(tmp_path, Reply(stdout=ITEM))
    oc.apply([json.loads(ITEM)], [None], "ConfigMap/x", dry_run=True)
    argv = fake.calls()[0].argv
    assert {"apply", "--server-side", "--field-manager=airgap-loader", "--dry-run=server"} <= set(argv)
    assert not any("force" in word for word in argv)


OWN = 'error: Apply failed with 1 conflict: conflict with "airgap-loader" using v1: .data.x'
THEIRS = """error: Apply failed with 2 conflicts: conflicts with "airgap-loader" using v1:
- .data.a
conflicts with "gitops" using v1:
- .data.b
Please review the fields above--they currently have other managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the apply
  command with the `--force-conflicts` flag.
"""


def test_field_of_our_own_earlier_patch_is_taken_over_guarded(tmp_path: Path) -> None:
    oc, fake = client(tmp_path, Reply(("--force-conflicts",), stdout=ITEM), Reply(stderr=OWN, status=1))
    item = json.loads(ITEM)
    assert len(oc.apply([item, item], ["7", "8"], "two", dry_run=True)) == 2
    sent = [json.loads(call.stdin)["items"] for call in fake.calls() if "--force-conflicts" in call.argv]
    assert [[one["metadata"].get("resourceVersion") for one in items] for items in sent] == [["7"], ["8"]]
    assert all("--dry-run=server" in call.argv for call in fake.calls())


def test_field_of_anyone_else_is_never_forced(tmp_path: Path) -> None:
    oc, fake = client(tmp_path, Reply(stderr=THEIRS, status=1))
    with pytest.raises(ClusterError) as caught:
        oc.apply([json.loads(ITEM)], ["7"], "ConfigMap/x")
    assert 'conflicts with "gitops" using v1: | - .data.b' in caught.value.why
    assert "force-conflicts" not in caught.value.why
    assert len(fake.calls()) == 1


def test_an_object_that_someone_else_owns_is_named_with_a_way_on(tmp_path: Path) -> None:
    oc, fake = client(tmp_path, Reply(stderr=THEIRS, status=1))
    item, path = json.loads(ITEM), "documents/manifests/01-crds.json"
    with pytest.raises(ClusterError) as caught:
        oc.apply([item, item], ["7", "8"], f"{path} (dry run)", dry_run=True, path=path)
    name = f"{item['kind']}/{item['metadata']['name']}"
    assert caught.value.message.startswith(name)
    assert caught.value.hint.endswith(f"apply --server-side --force-conflicts --field-manager=airgap-loader -f {path}")
    assert [len(json.loads(call.stdin)["items"]) for call in fake.calls()] == [2, 1]


def test_slow_answer_is_cut_off(tmp_path: Path) -> None:
    oc, _ = client(tmp_path, Reply(stdout="{}", delay=30), request_timeout=0)
    with pytest.raises(ClusterError, match="did not finish in time"):
        oc.get_raw("/version")


def test_warnings_on_stdout_are_not_the_answer(tmp_path: Path) -> None:
    warned = f"Warning: v1 Widget is deprecated\nW0101 12:00:00.0 1 x.go:1] old\n\n[WARNING] wrapper 1.2\n{ITEM}\n"
    oc, _ = client(tmp_path, Reply(stdout=warned))
    assert oc.get("configmaps", "x", "x") == json.loads(ITEM)


def test_other_words_on_stdout_are_an_error_that_shows_them(tmp_path: Path) -> None:
    oc, _ = client(tmp_path, Reply(stdout=f"Hello!\n{ITEM}"))
    with pytest.raises(ClusterError, match="not what was asked") as caught:
        oc.get("configmaps", "x", "x")
    assert "Hello!" in caught.value.why


def test_the_first_answer_tells_the_clients_version_and_the_clock(tmp_path: Path) -> None:
    headers = (
        "I1125 21:17:30.745658   1 round_trippers.go:480]     User-Agent: kubectl/v1.32.4 (linux/amd64) kubernetes/4c\n"
        "I1125 21:17:30.746375   1 round_trippers.go:587]     Date: Wed, 25 Nov 2026 21:17:30 GMT\n"
    )
    oc, _ = client(tmp_path, Reply(stdout='{"groups": []}', stderr=headers))
    greeting = oc.greet()
    assert (greeting.groups, greeting.client) == ({"groups": []}, "kubectl 1.32.4")
    assert greeting.clock is not None
    assert greeting.clock.isoformat() == "2026-11-25T21:17:30+00:00"


def test_the_noise_of_the_first_call_is_not_its_error(tmp_path: Path) -> None:
    words = (
        "I1125 21:17:30.745122   1 loader.go:402] Config loaded from file:  /k\n"
        "The connection to the server api:6443 was refused - did you specify the right host or port?\n"
    )
    oc, _ = client(tmp_path, Reply(stderr=words, status=1))
    with pytest.raises(ClusterError) as caught:
        oc.greet()
    assert "Config loaded" not in caught.value.why
    assert "was refused" in caught.value.why


def test_a_client_without_field_manager_still_creates(tmp_path: Path) -> None:
    flag = "Error: unknown flag: --field-manager\n"
    oc, fake = client(tmp_path, Reply(("--field-manager",), stderr=flag, status=1), Reply(stdout=ITEM))
    assert oc.create(json.loads(ITEM), "ConfigMap/x") == json.loads(ITEM)
    assert len(fake.calls()) == 2


def test_a_call_reads_as_a_person_would_type_it() -> None:
    assert str(Call("oc get nodes", 0.0123, 0, ())) == "$ oc get nodes (12 ms)"
    assert str(Call("oc get x", 1.0, 1, ("Warning: old",))) == "$ oc get x (1000 ms, status 1)\nWarning: old"


def test_another_server_than_the_site_s_is_not_asked_anything(tmp_path: Path) -> None:
    config = {"clusters": [{"cluster": {"server": "https://api.site8:6443"}}], "current-context": "admin"}
    oc, fake = client(tmp_path, Reply(stdout=json.dumps(config)), only_server="https://api.site7:6443")
    with pytest.raises(ConfigError) as caught:
        oc.config()
    assert "https://api.site8:6443" in str(caught.value)
    assert [call.argv[-5:] for call in fake.calls()] == [("config", "view", "--minify", "-o", "json")]
    oc, _ = client(tmp_path / "8", Reply(stdout=json.dumps(config)), only_server="https://api.site8:6443")
    oc.config()


def test_a_client_that_was_killed_is_told_so(tmp_path: Path) -> None:
    oc, fake = client(tmp_path, Reply())
    fake.path.write_text("#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(ClusterError) as caught:
        oc.config()
    assert "was ended by signal 9" in caught.value.why
