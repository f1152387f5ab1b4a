"""The upstream: reached, refused, silent, with a certificate; and never asked."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doctor.cases import BITES, NOTE, OK, case_of, look
from tests.support.certificate import certificate, needs_openssl


@contextlib.contextmanager
def listening(
    family: int = socket.AF_INET, at: object = ('127.0.0.1', 0)
) -> Iterator[socket.socket]:
    """Somebody who listens, and says nothing."""
    with socket.socket(family) as sock:
        sock.bind(at)  # type: ignore[arg-type]
        sock.listen()
        yield sock


def test_an_upstream_is_connected_to_and_not_asked(directory: Path) -> None:
    with listening() as sock:
        port = sock.getsockname()[1]
        case = case_of(directory, UPSTREAM=f'http://127.0.0.1:{port}/v1?key=secret')
        found = look('upstream', case)
        assert found.result == OK
        assert 'secret' not in found.line
        peer, _ = sock.accept()
        with peer:
            assert peer.recv(1) == b''
    found = look('upstream', case)
    assert (found.result, 'refused' in found.what) == (BITES, True)
    assert 'secret' not in found.line


def test_an_upstream_on_a_unix_socket(directory: Path, tmp_path: Path) -> None:
    path = str(tmp_path / 's')
    case = case_of(directory, UPSTREAM=f'unix:{path}')
    assert look('upstream', case).result == BITES
    with listening(socket.AF_UNIX, path):
        assert look('upstream', case).result == OK


def test_a_silent_upstream_is_not_waited_for(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('shmstream.doctor.upstream.CONNECT_S', 0.2)
    with listening() as sock:
        port = sock.getsockname()[1]
        case = case_of(directory, UPSTREAM=f'https://127.0.0.1:{port}')
        found = look('upstream', case)
    assert (found.result, 'timed out' in found.what) == (BITES, True)


@needs_openssl
def test_a_certificate_is_checked(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.file, made.key)

    def shake_hands(sock: socket.socket) -> None:
        for _ in range(2):
            peer, _ = sock.accept()
            with contextlib.suppress(OSError), context.wrap_socket(peer, True) as tls:
                tls.recv(1)

    with listening() as sock:
        thread = threading.Thread(target=shake_hands, args=(sock,))
        thread.start()
        port = sock.getsockname()[1]
        case = case_of(directory, UPSTREAM=f'https://127.0.0.1:{port}')
        found = look('upstream', case)
        assert (found.result, 'not trusted' in found.what) == (BITES, True)
        monkeypatch.setenv('SSL_CERT_FILE', str(made.file))
        assert look('upstream', case).result == OK
        thread.join()


def test_without_an_upstream_the_demo_model_answers(directory: Path) -> None:
    assert look('upstream', case_of(directory)).result == NOTE
