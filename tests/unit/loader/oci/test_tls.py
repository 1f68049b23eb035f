from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from loader.bundle.errors import ConfigError
from loader.oci import tls
from loader.oci.environment import AccessOptions, Environment
from loader.oci.tls import TlsFiles, find_tls_files, make_context
from tests.support.certificates import PrivateAuthority

HOST = "reg.local:5000"


def environment(root: Path) -> Environment:
    return Environment(home=root / "home", uid=0, etc=root / "etc")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_the_first_directory_that_exists_counts(tmp_path: Path) -> None:
    places = [
        tmp_path / "home/.config/containers/certs.d" / HOST,
        tmp_path / "etc/containers/certs.d" / HOST,
        tmp_path / "etc/docker/certs.d" / HOST,
    ]
    for place in reversed(places):
        touch(place / "ca.crt")
        assert find_tls_files(HOST, AccessOptions(), environment(tmp_path)).authorities == (place / "ca.crt",)


def test_the_port_belongs_to_the_name(tmp_path: Path) -> None:
    touch(tmp_path / "etc/containers/certs.d/reg.local/ca.crt")
    found = find_tls_files(HOST, AccessOptions(), environment(tmp_path))
    assert found.authorities == ()
    assert [path.name for path in found.searched] == [HOST] * 3


def test_cert_dir_is_used_instead_and_ca_file_besides(tmp_path: Path) -> None:
    touch(tmp_path / "etc/containers/certs.d" / HOST / "ca.crt", tmp_path / "d/x.crt", tmp_path / "d/readme.txt")
    options = AccessOptions(cert_dir=tmp_path / "d", ca_file=tmp_path / "own.pem")
    found = find_tls_files(HOST, options, environment(tmp_path))
    assert found.authorities == (tmp_path / "d/x.crt", tmp_path / "own.pem")


def test_a_client_pair_shares_its_name(tmp_path: Path) -> None:
    touch(tmp_path / "d/client.cert", tmp_path / "d/client.key")
    found = find_tls_files(HOST, AccessOptions(cert_dir=tmp_path / "d"), environment(tmp_path))
    assert found.client == (tmp_path / "d/client.cert", tmp_path / "d/client.key")


@pytest.mark.parametrize("name", ["client.cert", "client.key"])
def test_half_a_pair_is_named(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "d" / name)
    with pytest.raises(ConfigError, match="client"):
        find_tls_files(HOST, AccessOptions(cert_dir=tmp_path / "d"), environment(tmp_path))


def test_a_cert_dir_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cert-dir"):
        find_tls_files(HOST, AccessOptions(cert_dir=tmp_path / "no"), environment(tmp_path))


@pytest.mark.parametrize("host", ["..", "../x", "a/b", "."])
def test_a_host_is_not_a_way_out_of_certs_d(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError):
        find_tls_files(host, AccessOptions(), environment(tmp_path))


def test_a_context_checks_unless_told_otherwise(tmp_path: Path) -> None:
    files = TlsFiles((), None, ())
    strict = make_context(files, environment(tmp_path), verify=True)
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    lax = make_context(files, environment(tmp_path), verify=False)
    assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_NONE, False)


def test_an_authority_is_loaded_and_the_client_pair_too(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path / "ca")
    pair = authority.pair("client")
    empty = tmp_path / "none"
    empty.mkdir()
    system = Environment(home=tmp_path, uid=0, ssl_cert_file=authority.certificate, ssl_cert_dir=empty)
    context = make_context(TlsFiles((), (pair.certificate, pair.key), ()), system, verify=True)
    assert [one["subject"] for one in context.get_ca_certs()] == [((("commonName", "test authority"),),)]


@pytest.mark.parametrize("broken", ["authority", "client", "missing"])
def test_a_file_that_is_no_certificate_is_named(tmp_path: Path, broken: str) -> None:
    junk = tmp_path / "junk.pem"
    if broken != "missing":
        junk.write_text("junk")
    files = TlsFiles((), (junk, junk), ()) if broken == "client" else TlsFiles((junk,), None, ())
    with pytest.raises(ConfigError, match=r"junk\.pem"):
        make_context(files, environment(tmp_path), verify=True)


@pytest.mark.parametrize("same", [True, False])
def test_one_bundle_of_the_system_under_two_names_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    one, two = PrivateAuthority(tmp_path / "one"), PrivateAuthority(tmp_path / "two")
    known = tmp_path / "etc/pki/tls/certs/ca-bundle.crt"
    known.parent.mkdir(parents=True)
    known.symlink_to(one.certificate if same else two.certificate)
    loaded: list[Path] = []
    monkeypatch.setattr(tls, "_load", lambda _, path: loaded.append(path))
    places = ssl.get_default_verify_paths()._replace(openssl_cafile=str(one.certificate), openssl_capath="/nowhere")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: places)
    make_context(TlsFiles((), None, ()), environment(tmp_path), verify=True)
    assert loaded == [one.certificate, *([] if same else [known])]
