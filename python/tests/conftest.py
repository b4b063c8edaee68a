"""What several tests need."""

from __future__ import annotations

from pathlib import Path

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


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """What a benchmark of a server summed up."""
    path = tmp_path / "bench.json"
    path.write_text(
        '{"completed": 1000, "request_throughput": 2.0, "total_input_tokens": 985000, '
        '"total_output_tokens": 128000, "mean_ttft_ms": 66.9, "mean_tpot_ms": 12.33}'
    )
    return path
