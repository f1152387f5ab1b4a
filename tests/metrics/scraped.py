"""Scrapes the metrics of a service, by Prometheus' own parsers."""

from __future__ import annotations

from typing import Any

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from tests.support.client import Client

PATH = '/_shmstream/metrics'
PROMETHEUS = 'text/plain;version=0.0.4'
OPENMETRICS = 'application/openmetrics-text;version=1.0.0'

Labels = frozenset[tuple[str, str]]
Samples = dict[tuple[str, Labels], float]


class Scrape:
    """One answer, parsed.

    Args:
        text: the body.
        content_type: its type, which says how to parse it.
    """

    def __init__(self, text: str, content_type: str) -> None:
        parse: Any = parser.text_string_to_metric_families
        if content_type.startswith('application/openmetrics-text'):
            parse = openmetrics_parser.text_string_to_metric_families
        self.text = text
        self.families = list(parse(text))
        self.samples: Samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """One number; its name without the prefix."""
        return self.samples[f'shmstream_{name}', frozenset(labels.items())]

    def sum(self, name: str) -> float:
        """The sum over all labels."""
        wanted = f'shmstream_{name}'
        return sum(value for (n, _), value in self.samples.items() if n == wanted)

    @property
    def counters(self) -> Samples:
        """The samples that must never go back."""
        ends = ('_total', '_bucket', '_count', '_sum')
        return {k: v for k, v in self.samples.items() if k[0].endswith(ends)}


def scrape(client: Client, accept: str = OPENMETRICS, **headers: str) -> Scrape:
    """Ask any worker for the metrics."""
    headers['Accept'] = accept
    reply = client.call('GET', PATH, headers=headers)
    assert reply.status == 200, reply.body
    return Scrape(reply.body.decode(), reply.headers['content-type'])
