"""What several tests need."""

from __future__ import annotations

import pytest
import tenfold

#: One server at 80% load.
ONE_SERVER = {
    "name": "One server",
    "run": {"duration": "5m", "warmup": "10s", "replications": 2},
    "slo": {"latency": {"p99": "1s"}},
    "traffic": {"web": {"arrivals": {"process": "poisson", "rate": "8/s"}, "entry": "db"}},
    "components": {"db": {"kind": "service", "service_time": {"exponential": {"mean": "100ms"}}}},
}


@pytest.fixture
def one_server() -> tenfold.Scenario:
    return tenfold.Scenario.from_dict(ONE_SERVER)
