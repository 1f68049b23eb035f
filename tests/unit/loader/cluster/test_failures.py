from __future__ import annotations

import pytest

from loader.cluster.failures import Cause, diagnose, last_words, printable, shell_line, warnings

# Each line as a real oc or kubectl prints it.
WORDS = [
    ("The connection to the server localhost:8080 was refused - did you specify the right host or port?", "NO_CONFIG"),
    ("The connection to the server 10.0.0.1:6443 was refused - did you specify the right host or port?", "UNREACHABLE"),
    ("Unable to connect to the server: dial tcp: lookup api.x on 10.0.0.2:53: no such host", "UNREACHABLE"),
    ("Unable to connect to the server: x509: certificate signed by unknown authority", "UNTRUSTED"),
    ('error: context "nope" does not exist', "NO_CONFIG"),
    ("error: cannot locate context nowhere", "NO_CONFIG"),
    ("error: EOF\n", "UNAUTHORIZED"),
    ("error: current-context must exist in order to minify", "NO_CONFIG"),
    ("error: You must be logged in to the server (Unauthorized)", "UNAUTHORIZED"),
    (
        (
            'Error from server (Forbidden): deployments.apps "x" is forbidden: User "u" cannot patch resource '
            '"deployments" in API group "apps" in the namespace "rook-ceph"'
        ),
        "FORBIDDEN",
    ),
    (
        (
            'Error from server (Forbidden): admission webhook "imagecontentpolicies-validation.managed.openshift.io" '
            "denied the request: quay.io is forbidden"
        ),
        "DENIED",
    ),
    (
        (
            "Error from server (Forbidden): imagedigestmirrorsets \"x\" is forbidden: ValidatingAdmissionPolicy 'm' "
            "with binding 'm' denied request: not allowed"
        ),
        "DENIED",
    ),
    (
        (
            'Error from server (Forbidden): configmaps "x" is forbidden: unable to create new content in namespace '
            "pins because it is being terminated"
        ),
        "LEAVING",
    ),
    ('Error from server (NotFound): deployments.apps "rook-ceph-operator" not found', "NOT_FOUND"),
    ('Error from server (AlreadyExists): error when creating "STDIN": configmaps "x" already exists', "EXISTS"),
    (
        (
            'Error from server (Conflict): Operation cannot be fulfilled on deployments.apps "x": the object has been '
            "modified; please apply your changes to the latest version and try again"
        ),
        "CONFLICT",
    ),
    ('error: Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.x', "CONFLICT"),
    ('error: resource mapping not found for name: "x": no matches for kind "Foo" in version "a/v1"', "NO_MATCH"),
    ('error: the server doesn\'t have a resource type "cephclusters"', "NO_MATCH"),
    ('The ImageDigestMirrorSet "x" is invalid: spec.imageDigestMirrors[0].source: Invalid value', "INVALID"),
    ("Error from server (ServiceUnavailable): the server is currently unable to handle the request", "BUSY"),
    ('Error from server (InternalError): failed calling webhook "w": connect: no route', "BUSY"),
    ("error: unknown flag: --patch-file", "NO_FLAG"),
    ("error: something nobody has seen before", "OTHER"),
]


@pytest.mark.parametrize(("stderr", "cause"), WORDS)
def test_cause_and_hint(stderr: str, cause: str) -> None:
    found, hint = diagnose(stderr)
    assert found is Cause[cause]
    assert hint


def test_forbidden_names_verb_and_resource() -> None:
    words = next(stderr for stderr, cause in WORDS if cause == "FORBIDDEN")
    assert "`patch` `deployments.apps`" in diagnose(words)[1]


def test_last_words_are_few_printable_and_without_secrets() -> None:
    stderr = (
        "\n".join(f"line {n}" for n in range(50)) + "\nesc \x1b[31m red\nAuthorization: Bearer abc.def token=hunter2"
    )
    said = last_words(stderr)
    assert said.startswith("line 46 | ")  # nothing looks like the failure: the last six
    assert "\x1b" not in said
    assert "hunter2" not in said
    assert "abc.def" not in said


def test_last_words_leave_warnings_and_repetitions_out() -> None:
    memcache = 'E1123 07:00:00.000000   12 memcache.go:265] "Unhandled Error" err="couldn\'t get current server API"'
    said = last_words(f"{memcache}\nWarning: old API\n{memcache}\nerror: no\nerror: no\n")
    assert said == "error: no"


def test_advice_to_force_is_not_repeated() -> None:
    conflict = 'error: Apply failed with 1 conflict: conflict with "helm" using v1: .data.x'
    advice = "Please review the fields above--they currently have other managers.\n* re-run with --force-conflicts\n"
    assert last_words(f"{conflict}\n{advice}") == conflict


def test_silence_is_said() -> None:
    assert last_words(" \n") == "it said nothing"


def test_warnings_are_kept_apart() -> None:
    assert warnings("Warning: policy/v1beta1 is deprecated\nerror: no\n") == ("Warning: policy/v1beta1 is deprecated",)


def test_printable_is_capped() -> None:
    assert len(printable("x" * 10_000)) == 600


def test_shell_line_is_quoted() -> None:
    assert shell_line(["oc", "get", "--raw", "/a?b=c d"]) == "oc get --raw '/a?b=c d'"
