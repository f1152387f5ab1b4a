"""The numbers in the files of ``deploy/`` hold together, as the doctor wants them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from shmstream.deploy import hooks
from shmstream.doctor.examination import CHECKS, run
from shmstream.doctor.finding import Result
from shmstream.doctor.plan import Load, plan
from shmstream.doctor.server import ServerSettings, read
from shmstream.doctor.workers import stop_within
from shmstream.errors import SettingsError
from shmstream.settings import Settings
from tests.doctor.cases import case_of
from tests.operations import shipped
from tests.support.service import ROOT

ENVIRONMENTS = {
    'systemd': shipped.unit_environment,
    'docker': lambda: (
        shipped.dockerfile_environment() | shipped.compose()['environment']
    ),
    'kubernetes': shipped.container_environment,
}
ASKED = ('settings', 'access', 'workers', 'timeouts')
"""The checks that look at settings, and not at this machine."""

READ: dict[str, ServerSettings] = {}


def server(name: str) -> ServerSettings:
    """gunicorn's settings, as gunicorn reads them there."""
    if name not in READ:
        arguments = ENVIRONMENTS[name]()['GUNICORN_CMD_ARGS']
        environ = {**os.environ, 'GUNICORN_CMD_ARGS': arguments}
        READ[name] = read(ROOT / 'gunicorn.conf.py', environ, 600)
    return READ[name]


@pytest.mark.parametrize('name', ENVIRONMENTS)
def test_the_doctor_finds_nothing_that_bites(
    name: str, directory: Path, tmp_path: Path
) -> None:
    keys = tmp_path / 'keys'
    keys.write_text('one\n')
    settings = {
        variable.removeprefix('SHMSTREAM_'): text
        for variable, text in ENVIRONMENTS[name]().items()
        if variable.startswith('SHMSTREAM_') and '$' not in text
    }
    assert 'API_KEYS_FILE' in settings
    settings |= {'API_KEYS_FILE': str(keys)}
    settings.pop('DIR', None)
    case = case_of(directory, server(name), **settings)
    found = [run(check, case) for check in CHECKS if check.name in ASKED]
    assert [
        each for each in found if each.result in (Result.BITES, Result.UNKNOWN)
    ] == []


def test_who_stops_it_waits_long_enough() -> None:
    unit = shipped.unit()
    graceful = server('systemd').graceful_timeout
    assert float(unit['TimeoutStopSec'][0]) >= stop_within(graceful, reloads=True)
    grace = shipped.compose()['stop_grace_period']
    assert float(grace.removesuffix('s')) >= stop_within(
        server('docker').graceful_timeout
    )
    pod = shipped.manifest('deployment.yaml')['spec']['template']['spec']
    sleep = shipped.container()['lifecycle']['preStop']['exec']['command'][-1]
    before = float(re.findall(r'sleep\((\d+)\)', sleep)[0])
    assert pod['terminationGracePeriodSeconds'] >= before + stop_within(
        server('kubernetes').graceful_timeout
    )


def test_the_memory_that_is_allowed_is_enough() -> None:
    """The file system and the processes, which are twice as many during a reload."""
    size = shipped.size
    unit, compose = shipped.unit(), shipped.compose()
    volumes = shipped.manifest('deployment.yaml')['spec']['template']['spec']['volumes']
    (shm,) = (each['emptyDir'] for each in volumes if each['name'] == 'shm')
    assert shm['medium'] == 'Memory'
    limits = shipped.container()['resources']
    for name, file_system, allowed in (
        ('systemd', None, unit['MemoryMax'][0]),
        ('docker', compose['shm_size'], compose['mem_limit']),
        ('kubernetes', shm['sizeLimit'], limits['limits']['memory']),
    ):
        sessions = size(ENVIRONMENTS[name]()['SHMSTREAM_MAX_MEMORY'])
        # Unless their number is set, it depends on the machine.
        is_set = '--workers' in ENVIRONMENTS[name]()['GUNICORN_CMD_ARGS']
        workers = server(name).workers if is_set else hooks.MAX_WORKERS
        own = plan(Load(200, 400, 20_000, 4 << 20, workers)).processes
        assert size(allowed) >= sessions + own, name
        if file_system is not None:
            assert size(file_system) > sessions, name
            assert size(allowed) >= size(file_system) + own, name
    # What is asked for is what is allowed: memory that is only lent is not there.
    assert limits['requests']['memory'] == limits['limits']['memory']


def test_no_variable_of_a_service_is_taken_for_a_setting() -> None:
    """Kubernetes sets them for each Service that was there before the pod."""
    name = shipped.manifest('service.yaml')['metadata']['name']
    linked = f'{name.upper().replace("-", "_")}_PORT'
    with pytest.raises(SettingsError, match=f'^{linked} is not a setting'):
        Settings.from_environment({linked: 'tcp://10.0.0.1:80'})
    pod = shipped.manifest('deployment.yaml')['spec']['template']['spec']
    assert pod['enableServiceLinks'] is False


def test_kubernetes_manifests_refer_to_each_other() -> None:
    deployment = shipped.manifest('deployment.yaml')
    labels = deployment['spec']['template']['metadata']['labels']
    for selector in (
        deployment['spec']['selector']['matchLabels'],
        shipped.manifest('service.yaml')['spec']['selector'],
        shipped.manifest('pdb.yaml')['spec']['selector']['matchLabels'],
    ):
        assert selector.items() <= labels.items()
    container = shipped.container()
    ports = {port['name'] for port in container['ports']}
    assert shipped.manifest('service.yaml')['spec']['ports'][0]['targetPort'] in ports
    for probe, route in (
        ('startupProbe', 'live'),
        ('livenessProbe', 'live'),
        ('readinessProbe', 'ready'),
    ):
        assert container[probe]['httpGet']['path'] == f'/_shmstream/{route}'
        assert container[probe]['httpGet']['port'] in ports
    mounted = {each['name'] for each in container['volumeMounts']}
    pod = deployment['spec']['template']['spec']
    assert mounted == {each['name'] for each in pod['volumes']}
    # The restricted profile of Kubernetes.
    assert pod['securityContext']['runAsNonRoot']
    assert pod['securityContext']['seccompProfile']['type'] == 'RuntimeDefault'
    assert not container['securityContext']['allowPrivilegeEscalation']
    assert container['securityContext']['capabilities']['drop'] == ['ALL']
    rule = shipped.manifest('ingress.yaml')['spec']['rules'][0]['http']['paths'][0]
    assert (
        rule['backend']['service']['name']
        == (shipped.manifest('service.yaml')['metadata']['name'])
    )
    listed = set(shipped.manifest('kustomization.yaml')['resources'])
    files = {path.name for path in shipped.KUBERNETES.glob('*.yaml')}
    assert files - listed == {'kustomization.yaml', 'ingress-nginx-config.yaml'}


def test_the_image_is_not_root_and_has_all_that_it_copies() -> None:
    user = shipped.dockerfile()['USER']
    assert user == '10001:10001'
    pod = shipped.manifest('deployment.yaml')['spec']['template']['spec']
    assert str(pod['securityContext']['runAsUser']) in user
    text = (shipped.DEPLOY / 'docker/Dockerfile').read_text()
    ignored = (shipped.DEPLOY / 'docker/Dockerfile.dockerignore').read_text()
    copied = [
        name
        for line in re.findall(r'(?m)^COPY (?!--)(.*)$', text)
        for name in line.split()[:-1]
    ]
    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert f'!{name}\n' in ignored


needs_systemd = pytest.mark.skipif(
    shutil.which('systemd-analyze') is None,
    reason='there is no systemd-analyze here: .ci/debian installs it',
)


@needs_systemd
def test_systemd_takes_the_unit_and_finds_it_closed(tmp_path: Path) -> None:
    """The exposure is 1.6 of 10; most of it is the network, which it needs."""
    text = (shipped.DEPLOY / 'systemd/shmstream.service').read_text()
    file = tmp_path / 'shmstream.service'
    file.write_text(
        text.replace('/opt/shmstream/bin/shmstream', shutil.which('true') or '')
    )
    for command in (
        ['verify', str(file)],
        ['security', '--offline=yes', '--threshold=20', str(file)],
    ):
        done = subprocess.run(
            ['systemd-analyze', '--no-pager', *command],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert 'shmstream.service:' not in done.stderr, done.stderr
