"""Metrics for Prometheus, made from the ledger at each scrape: what survives a restart, survives in them too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from platform import python_version
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from daemon.contract import Reader, Sample
from daemon.health import Health

PREFIX = "callspool_"


def exposition(read: Reader, rooms: Sequence[Callable[[Reader], Iterable[Sample]]], health: Health) -> bytes:
    """Everything in the text format."""
    samples = [*_machine(read, health), *(sample for room in rooms for sample in room(read))]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(samples))
    return generate_latest(registry)


class _Collected:
    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Any] = {}
        for sample in self._samples:
            family = families.get(sample.name)
            if family is None:
                kind = CounterMetricFamily if sample.name.endswith("_total") else GaugeMetricFamily
                family = families[sample.name] = kind(PREFIX + sample.name, sample.help, labels=list(sample.labels))
            family.add_metric(list(sample.labels.values()), sample.value)
        return families.values()


def _machine(read: Reader, health: Health) -> Iterable[Sample]:
    yield Sample("build_info", "The program.", 1, {"version": version("callspool"), "python": python_version()})
    yield Sample("ready", "1 while everything moves, as /readyz says.", float(health.ready))
    for row in read.rows("SELECT state, count(*) AS n FROM file GROUP BY state"):
        yield Sample("files", "Files below the watched folders, by state.", row["n"], {"state": row["state"]})
    for row in read.rows("SELECT lane, state, count(*) AS n FROM job WHERE state != 'done' GROUP BY lane, state"):
        labels = {"stage": row["lane"], "state": row["state"]}
        yield Sample("stage_items", "What waits, works or needs a person, by stage.", row["n"], labels)
    oldest = "SELECT lane, min(created_us) AS us FROM job WHERE state IN ('ready', 'running', 'parked') GROUP BY lane"
    for row in read.rows(oldest):
        name = "stage_oldest_item_timestamp_seconds"
        yield Sample(name, "When the oldest of these was begun.", row["us"] / 1e6, {"stage": row["lane"]})
    for row in read.rows("SELECT * FROM destination"):
        dest = {"dest": row["name"]}
        yield Sample(
            "destination_open", "1 while a destination takes deliveries.", float(row["state"] == "closed"), dest
        )
        if row["succeeded_us"]:
            name = "last_success_timestamp_seconds"
            yield Sample(name, "When a destination last took something.", row["succeeded_us"] / 1e6, dest)
    for row in read.rows("SELECT what FROM pause"):
        yield Sample("paused", "1 while a kind of work is paused.", 1, {"what": row["what"]})
