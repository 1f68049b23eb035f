"""A real kube-apiserver over a real etcd on loopback, with the CRDs of ``tests/crds``.

RBAC decides, two users exist: ``admin`` (system:masters) and ``restricted``, who may read everything and
change nothing. No controller runs: nothing creates service accounts, rolls out or garbage-collects.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support import gotools

CRDS = Path(__file__).resolve().parents[1] / "crds"
START_SECONDS = 90
STOP_SECONDS = 20

# The restricted user's whole role: what a person with a view-only login has, CRDs included.
_READER = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "tests-reader"},
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "tests-reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "tests-reader"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "restricted"}],
        },
    ],
}


@dataclass(frozen=True)
class ApiServer:
    """A running server: where it is, how to log in, and kubectl as its admin."""

    url: str
    kubeconfig: Path
    restricted_kubeconfig: Path
    logs: Path
    program: Path

    def kubectl(self, *args: str, input: str | None = None) -> str:  # noqa: A002 - the name subprocess.run has for it
        """Run kubectl as admin and return its stdout; a failure is a ``RuntimeError`` with its stderr."""
        done = subprocess.run(
            [self.program, f"--kubeconfig={self.kubeconfig}", *args],
            # A home of its own: no cache, plugin or default file of the person who runs the tests.
            env={"PATH": os.defpath, "HOME": str(self.logs)},
            input=input,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(args)} exited {done.returncode}:\n{done.stderr}")
        return done.stdout


@contextlib.contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    """Start etcd and kube-apiserver in ``folder``, install the CRDs, stop both at the end.

    Logs stay in ``folder``; a server that dies or does not get ready raises ``RuntimeError`` with its log's end.
    """
    programs = gotools.tool("kube-apiserver"), _etcd(), gotools.kubectl()
    tokens = {"admin": secrets.token_hex(16), "restricted": secrets.token_hex(16)}
    _write_credentials(folder, tokens)
    etcd_port, peer_port, port = free_ports(3)
    with contextlib.ExitStack() as stack:
        data = folder / "etcd"
        # Never looked at again, and 130 MB that pytest would keep with the logs.
        stack.callback(shutil.rmtree, data, ignore_errors=True)
        stack.enter_context(_process(_etcd_argv(programs[1], data, etcd_port, peer_port), folder / "etcd.log"))
        server = stack.enter_context(
            _process(_server_argv(programs[0], folder, port, etcd_port), folder / "kube-apiserver.log")
        )
        url = f"https://127.0.0.1:{port}"
        running = ApiServer(
            url=url,
            kubeconfig=_write_kubeconfig(folder, url, "admin", tokens["admin"]),
            restricted_kubeconfig=_write_kubeconfig(folder, url, "restricted", tokens["restricted"]),
            logs=folder,
            program=programs[2],
        )
        _await_ready(running, server, tokens["admin"])
        install_crds(running, sorted(CRDS.glob("*.yaml")))
        running.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(_READER))
        yield running


def install_crds(server: ApiServer, files: Sequence[Path]) -> None:
    """Create or update the CRDs in ``files`` and return when the API server serves all of them."""
    # Server-side: the annotation that client-side apply adds has no room for the largest of Rook's. Validation
    # would fetch the whole OpenAPI document first; the server checks every CRD anyway.
    named = [f"--filename={path}" for path in files]
    server.kubectl("apply", "--server-side", "--validate=false", *named)
    server.kubectl("wait", "--for=condition=Established", "--timeout=60s", *named)


def free_ports(count: int) -> list[int]:
    """Return ``count`` different TCP ports that nothing listens on at 127.0.0.1 right now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _etcd() -> Path:
    found = gotools.asset("etcd") or shutil.which("etcd")
    if found is None:
        raise RuntimeError("the API server needs etcd, which is not installed: apt-get install etcd-server")
    return Path(found)


def _etcd_argv(program: Path, data: Path, port: int, peer_port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    return [
        str(program),
        "--name=tests",
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=tests={peer}",
    ]


def _server_argv(program: Path, folder: Path, port: int, etcd_port: int) -> list[str]:
    return [
        str(program),
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        # Nobody looks the server up through its own Service, and the shut-down would wait to leave it.
        "--endpoint-reconciler-type=none",
        f"--secure-port={port}",
        f"--cert-dir={folder}",
        f"--tls-cert-file={folder / 'server.pem'}",
        f"--tls-private-key-file={folder / 'server.key'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        # Service accounts are made by a controller, and none runs.
        "--disable-admission-plugins=ServiceAccount",
        "--service-account-issuer=https://127.0.0.1/",
        f"--service-account-key-file={folder / 'server.key'}",
        f"--service-account-signing-key-file={folder / 'server.key'}",
        "--service-cluster-ip-range=10.0.0.0/24",
    ]


def _write_credentials(folder: Path, tokens: dict[str, str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests-apiserver")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "server.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    # SEC 1 and not PKCS#8: the server reads the service accounts' public key out of the same file.
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    (folder / "server.key").write_bytes(key.private_bytes(*pem))
    (folder / "tokens.csv").write_text(
        f'{tokens["admin"]},admin,1,"system:masters"\n{tokens["restricted"]},restricted,2\n'
    )


def _write_kubeconfig(folder: Path, url: str, user: str, token: str) -> Path:
    path = folder / f"{user}.kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": user,
        "clusters": [
            {"name": "tests", "cluster": {"server": url, "certificate-authority": str(folder / "server.pem")}}
        ],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": user, "context": {"cluster": "tests", "user": user}}],
    }
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path


@contextlib.contextmanager
def _process(argv: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    # Both programs take options from the environment too; ETCD_UNSUPPORTED_ARCH lets etcd 3.4 run on arm64.
    environment = {"PATH": os.defpath, "ETCD_UNSUPPORTED_ARCH": "arm64"}
    with log.open("wb") as file:
        process = subprocess.Popen(argv, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(server: ApiServer, process: subprocess.Popen[bytes], token: str) -> None:
    context = ssl.create_default_context(cafile=server.logs / "server.pem")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(f"{server.url}/readyz", headers={"Authorization": f"Bearer {token}"})
    deadline = time.monotonic() + START_SECONDS
    state = "no answer"
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with opener.open(request, timeout=5):
                return
        except urllib.error.HTTPError as error:
            with error:
                state = error.read().decode(errors="replace")
        except (urllib.error.URLError, OSError) as error:
            state = str(error)
        time.sleep(0.1)
    ends = [f"{log}:\n{log.read_text(errors='replace')[-3000:]}" for log in sorted(server.logs.glob("*.log"))]
    raise RuntimeError(f"kube-apiserver is not ready ({state}, exit status {process.poll()})\n" + "\n".join(ends))
