"""Each experiment, and that it is that of the command."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import tenfold

#: The `tenfold` command, where it has been built.
COMMAND = Path(os.environ.get("TENFOLD_COMMAND", Path(__file__).parents[2] / "target/debug/tenfold"))
command = pytest.mark.skipif(not COMMAND.exists(), reason=f"{COMMAND} has not been built")


@command
@pytest.mark.parametrize("name", ["queueing-basics", "paged-attention"])
def test_python_and_the_command_give_the_same_fingerprints(name: str) -> None:
    file = Path(__file__).parents[2] / f"scenarios/library/{name}.toml"
    options = ["--replications", "2", "--seed", "7", "--scale", "1.5x", "--format", "json", "--quiet"]
    told = subprocess.run([COMMAND, "run", file, *options], capture_output=True, check=False)
    assert told.returncode in (0, 1), told.stderr
    there = json.loads(told.stdout)
    here = tenfold.run(file, replications=2, seed=7, scale="1.5x")
    assert here.provenance == there["provenance"]
    assert here.to_dict() == there
    assert here.fingerprints == tenfold.run(tenfold.Scenario.library(name), replications=2, seed=7, scale=1.5).fingerprints


def test_a_run_has_figures_verdicts_and_a_report(one_server: tenfold.Scenario, tmp_path: Path) -> None:
    result = tenfold.run(one_server, threads=1)
    # M/M/1 at 80%: a mean of 0.5 s; two replications of 5 minutes are not far from it.
    assert 0.3 < result.figures["latency_mean_s"] < 0.8 and result.half_widths["latency_mean_s"] > 0
    assert result.passed is False and len(result.findings) > 0
    assert result.fingerprints == tenfold.run(one_server, threads=2).fingerprints
    assert result.verdicts["pass"] == [False]
    assert {path.name for path in result.write(tmp_path)} >= {"summary.parquet", "provenance.json"}
    assert tenfold.Frame.read_parquet(tmp_path / "summary.parquet")["latency_mean_s"] == result.summary["latency_mean_s"]
    report = result.report()
    report.save(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == report.html()
    assert report.svg("architecture").startswith("<svg") and report.png("architecture")[:4] == b"\x89PNG"
    html = result._repr_html_()
    assert "latency p99" in html and "polyline" in html and result.fingerprints[0] in html


def test_every_request_is_kept_where_it_is_asked_for(one_server: tenfold.Scenario) -> None:
    assert tenfold.run(one_server).requests is None
    result = tenfold.run(one_server, requests=True)
    requests = result.requests
    assert requests is not None
    answered = [latency for latency, outcome in zip(requests["latency_s"], requests["outcome"], strict=True) if outcome == "ok"]
    summary = result.summary
    kinds = zip(summary["class"], summary["tenant"], summary["ok"], strict=True)
    assert len(answered) == sum(ok for of_class, tenant, ok in kinds if (of_class, tenant) == ("all", "all"))
    scenario = one_server.to_dict() | {"variant": [{"name": "two", "set": {"components.db.servers": 2}}]}
    both = tenfold.compare(scenario, requests=True).frame("requests")
    numbers = {name: set[int]() for name in ("base", "two")}
    for variant, request in zip(both["variant"], both["request"], strict=True):
        numbers[variant].add(request)
    assert numbers["base"] == numbers["two"] and len(numbers["base"]) > 100


def test_variants_are_compared(one_server: tenfold.Scenario) -> None:
    base = one_server.to_dict()
    scenario = base | {"variant": [{"name": "two", "set": {"components.db.servers": 2}}]}
    comparison = tenfold.compare(scenario)
    assert [result.variant for result in comparison.results] == ["base", "two"]
    assert comparison.passed == {"base": False, "two": True}
    differences = comparison.differences
    rows = zip(differences["metric"], differences["difference"], strict=True)
    assert dict(rows)["latency_p99_s"] < -0.5
    assert "two" in comparison._repr_html_()
    with pytest.raises(tenfold.ScenarioError, match="nothing to compare"):
        tenfold.compare(base)


def test_the_stress_test_finds_what_breaks(one_server: tenfold.Scenario) -> None:
    stressed = tenfold.stress(one_server.set({"components.db.servers": 4}), multipliers=[1, 10], replications=1)
    assert not stressed.passed and stressed.first == "db"
    passes, fails = stressed.limit
    assert 3 < passes < fails < 6
    assert sorted(set(stressed.summary["multiplier"])) == [1.0, 10.0]
    assert [level["pass"] for level in stressed.to_dict()["levels"]] == [True, False]
    assert "svg" in stressed._repr_html_()


def test_the_plan_is_the_cheapest_that_holds(one_server: tenfold.Scenario) -> None:
    planned = tenfold.plan(one_server, {"components.db.servers": [1, 2, 3]}, rate="16/s")
    assert planned.best == {"components.db.servers": "2"} or planned.best == {"components.db.servers": "3"}
    assert tenfold.run(planned.scenario(), scale=2).passed is True
    assert any(planned.configurations["best"]) and planned.findings
    nothing = tenfold.plan(one_server, {"components.db.servers": [1]}, scale=10)
    assert nothing.best is None and nothing.scenario() is None


def test_a_benchmark_calibrates_a_pool(bench: Path) -> None:
    scenario = tenfold.Scenario.library("llm-capacity").set({"components.llm.model": "qwen3-14b"})
    calibrated = tenfold.calibrate(scenario, bench)
    assert calibrated.component == "llm" and "bench.json" in calibrated.badge and calibrated.errors is None
    assert calibrated.scenario().hash != scenario.hash
    assert tenfold.run(calibrated.scenario(), replications=1).provenance["calibration"] == calibrated.badge
    with pytest.raises(ValueError, match="hold_back: 2"):
        tenfold.calibrate(scenario, bench, hold_back=2)


def test_threads_of_python_go_on_while_a_run_is_under_way(one_server: tenfold.Scenario) -> None:
    counted, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0.001)

    other = threading.Thread(target=count)
    other.start()
    before = counted[0]
    tenfold.run(one_server, duration="40h", replications=2)
    seen = counted[0] - before
    stop.set()
    other.join()
    # With the lock held it would be one at most.
    assert seen > 5


def test_an_interrupt_stops_a_run_soon(one_server: tenfold.Scenario) -> None:
    # A shell that starts the tests in the background has them ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    started = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt):
            tenfold.run(one_server, duration="100000h", replications=1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.perf_counter() - started < 5


def test_progress_is_told(one_server: tenfold.Scenario) -> None:
    told: list[float] = []
    options = {"scale": 1.0, "trace": None, "duration": "5h", "threads": 1, "until": None, "requests": False}
    tenfold._tenfold.run(one_server, options, told.append)
    assert told and told == sorted(told) and 0 <= told[0] <= told[-1] <= 1

    def refuse(share: float) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        tenfold._tenfold.run(one_server, options | {"duration": "100000h"}, refuse)


def _fingerprints(scenario: tenfold.Scenario) -> list[str]:
    return tenfold.run(scenario).fingerprints


def test_a_forked_process_can_run_too(one_server: tenfold.Scenario) -> None:
    here = _fingerprints(one_server)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_fingerprints, (one_server,)).get(timeout=60) == here
