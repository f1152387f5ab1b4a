"""The files of ``deploy/``, as tests run them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.support.certificate import Certificate
from tests.support.nginx import AnyNginx
from tests.support.service import ROOT

DEPLOY = ROOT / 'deploy'
KUBERNETES = DEPLOY / 'kubernetes'


def replaced(text: str, **pairs: tuple[str, str]) -> str:
    """Replace each text, which has to be there, once or more."""
    for old, new in pairs.values():
        assert old in text, old
        text = text.replace(old, new)
    return text


def nginx_as_shipped(folder: Path, behind: int, made: Certificate) -> AnyNginx:
    """The nginx of ``deploy/nginx``, with ports and paths of a test."""
    text = (DEPLOY / 'nginx/shmstream.conf').read_text()

    def servers(port: int) -> str:
        return replaced(
            text,
            # The plain server is on a socket of its own.
            plain=('listen 80;', f'listen unix:{folder}/plain.sock;'),
            port=('listen 443 ', f'listen 127.0.0.1:{port} '),
            service=('127.0.0.1:8000', f'127.0.0.1:{behind}'),
            certificate=('/etc/ssl/chat.example.org.pem', str(made.file)),
            key=('/etc/ssl/private/chat.example.org.key', str(made.key)),
        )

    return AnyNginx(folder, servers, made)


def unit() -> dict[str, list[str]]:
    """The settings of the systemd unit, each with all of its values."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / 'systemd/shmstream.service').read_text().splitlines():
        name, equals, value = line.partition('=')
        if equals and not line.startswith('#'):
            found.setdefault(name, []).append(value.strip('"'))
    return found


def unit_environment() -> dict[str, str]:
    """What the unit sets itself."""
    pairs = (entry.partition('=') for entry in unit()['Environment'])
    return {name: value for name, _, value in pairs}


def dockerfile() -> dict[str, str]:
    """The last instruction of each kind."""
    text = (DEPLOY / 'docker/Dockerfile').read_text()
    lines = re.sub(r'\\\n\s*', ' ', re.sub(r'(?m)^#.*\n', '', text)).splitlines()
    pairs = (line.strip().partition(' ') for line in lines if line.strip())
    return {name: value for name, _, value in pairs}


def dockerfile_environment() -> dict[str, str]:
    """What the image sets."""
    found = re.findall(r'(\w+)=("[^"]*"|\S+)', dockerfile()['ENV'])
    return {name: value.strip('"') for name, value in found}


def compose() -> dict[str, Any]:
    """The service of the compose file."""
    text = (DEPLOY / 'docker/compose.yaml').read_text()
    service: dict[str, Any] = yaml.safe_load(text)['services']['shmstream']
    return service


def compose_environment() -> dict[str, str]:
    """What the image and the compose file set."""
    more: dict[str, str] = compose()['environment']
    return dockerfile_environment() | more


def manifest(name: str) -> dict[str, Any]:
    """A manifest of Kubernetes."""
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / name).read_text())
    return found


def container() -> dict[str, Any]:
    """The container of the Deployment."""
    pod = manifest('deployment.yaml')['spec']['template']['spec']
    (only,) = pod['containers']
    found: dict[str, Any] = only
    return found


def container_environment() -> dict[str, str]:
    """What the Deployment sets."""
    return {each['name']: each['value'] for each in container()['env']}


def size(text: str) -> int:
    """Bytes, as Kubernetes, Docker, systemd and shmstream write them."""
    match = re.fullmatch(r'(\d+)([kKmMgG]?)(i?[bB]?)', text)
    assert match is not None, text
    return int(match[1]) << {'': 0, 'k': 10, 'm': 20, 'g': 30}[match[2].lower()]
