"""The newest figures of a run for Prometheus, on this machine's loopback alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from rlvr.errors import RecipeError

_OF_ENGINE = re.compile(r"engine_(\d+)_(\w+)")


class MetricsEndpoint:
    """Serves every metric of the step logged last as the gauge `rlvr_<metric>`, labelled with its stage.

    Those of one engine, `engine_<i>_<metric>`, are `rlvr_engine_<metric>` with the label `engine`. Raises RecipeError
    where the port is taken.
    """

    def __init__(self, port: int) -> None:
        self.registry = CollectorRegistry()
        self.gauges: dict[str, Gauge] = {}
        try:
            self.server, self.thread = start_http_server(port, addr="127.0.0.1", registry=self.registry)
        except OSError as error:
            raise RecipeError(
                f"cluster.metrics_port: {port} cannot be listened on ({error.strerror}); choose another"
            ) from error

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Replace what is served by the figures of a step."""
        for gauge in self.gauges.values():
            gauge.clear()
        for name, value in {**metrics, "step": step}.items():
            engine = _OF_ENGINE.fullmatch(name)
            labels = {"stage": stage} | ({"engine": engine[1]} if engine else {})
            self._gauge(f"engine_{engine[2]}" if engine else name, tuple(labels)).labels(**labels).set(value)

    def _gauge(self, name: str, labels: tuple[str, ...]) -> Gauge:
        name = re.sub(r"\W", "_", name)  # parts of a reward have names of their users' own
        if name not in self.gauges:
            told = f"{name} of the step logged last"
            self.gauges[name] = Gauge(f"rlvr_{name}", told, labels, registry=self.registry)
        return self.gauges[name]

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@contextmanager
def serving(port: int | None) -> Iterator[MetricsEndpoint | None]:
    """Serve while the block runs; nothing where there is no port."""
    endpoint = None if port is None else MetricsEndpoint(port)
    try:
        yield endpoint
    finally:
        if endpoint is not None:
            endpoint.close()
