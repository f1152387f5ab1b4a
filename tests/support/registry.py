"""The supervisor's registry by itself, without a supervisor."""

from __future__ import annotations

from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.worker_table import WorkerTable
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.registry import Registry

CONFIG = SupervisorConfig(max_memory=1 << 30)


def fresh_registry(directory: RuntimeDirectory) -> tuple[Registry, WorkerTable]:
    """The registry of a runtime directory, which is made for it."""
    directory.create()
    table = WorkerTable.create(directory.table, made_directory=True)
    return Registry(directory, CONFIG, table), table


def taken_over(directory: RuntimeDirectory) -> Registry:
    """A registry as a successor has it."""
    registry = Registry(directory, CONFIG, WorkerTable.attach(directory.table))
    registry.adopt()
    return registry
