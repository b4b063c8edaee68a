"""The harness end to end on a CPU with a tiny model. Skipped where PyTorch or transformers is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the engine needs PyTorch")
pytest.importorskip("transformers", reason="the engine is that of transformers")

HERE = Path(__file__).parent.parent
sys.path.insert(0, str(HERE))


def run(program: str, out: Path, *more: str) -> None:
    """Runs a program of the harness on the CPU."""
    command = [sys.executable, str(HERE / program), f"--out={out}", "--device=cpu", *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def lines(file: Path) -> list[dict[str, Any]]:
    """The records of a file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_suite_says_what_every_request_and_every_step_did(tmp_path: Path) -> None:
    run("suite.py", tmp_path, "--large=tiny", "--small=tiny", "--window=1", "--budget=60")
    records = lines(tmp_path / "engine.jsonl")
    kinds = {record["kind"] for record in records}
    assert {"machine", "engine", "run", "request", "steps", "ran", "saturation", "end"} <= kinds
    assert "failed" not in kinds, [r for r in records if r["kind"] == "failed"]
    loads = [r for r in records if r["kind"] == "run" and r["purpose"] == "load"]
    assert len(loads) >= 8
    for request in (r for r in records if r["kind"] == "request"):
        assert request["tokens"] == request["output"], request
        assert request["arrival"] <= request["admitted"] <= request["first"] <= request["last"]
    steps = [dict(zip(r["columns"], row, strict=True)) for r in records if r["kind"] == "steps" for row in r["rows"]]
    most = next(r["batch_requests"] for r in records if r["kind"] == "engine" and r["model"] == "tiny")
    assert max(step["sequences"] for step in steps) == most
    operations = lines(tmp_path / "operations-tiny.jsonl")
    assert operations[0]["kind"] == "device" and operations[-1]["kind"] == "end"
    assert {"gemm", "elementwise", "sampling"} <= {line["kind"] for line in operations}
    attention = lines(tmp_path / "attention-tiny.jsonl")
    assert {line["mix"] for line in attention} == {"chat", "document"}
    assert any(line["chunks"] for line in attention) and not all(line["chunks"] for line in attention)


def test_a_budget_ends_a_suite_and_says_what_is_left_out(tmp_path: Path) -> None:
    run("suite.py", tmp_path, "--large=tiny", "--small=tiny", "--window=1", "--budget=6")
    records = lines(tmp_path / "engine.jsonl")
    assert any(record["kind"] == "left_out" for record in records)
    assert records[-1]["kind"] == "end"


def test_padded_batches_give_the_same_tokens(tmp_path: Path) -> None:
    from engine import Engine, EngineConfig, Request
    from records import Records

    answers = []
    for padded in (False, True):
        config = EngineConfig(
            "tiny", "tiny", device="cpu", num_blocks=512, max_batch_tokens=128, max_requests_per_batch=16
        )
        engine = Engine(config, Records(tmp_path, "engine"))
        engine.processor.model_runner.pad_inputs = padded
        if padded:
            engine.capture()
        with engine:
            for index in range(8):
                engine._ask(f"x:{index}", Request(0.0, 10 + 23 * index, 12))
            found: dict[str, list[int]] = {}
            while len(found) < 8:
                if (result := engine._take(1.0)) is not None:
                    found[result.request_id] = list(result.generated_tokens)
        answers.append(found)
    assert answers[0] == answers[1]


def test_the_batcher_answers_everyone_within_its_bounds(tmp_path: Path) -> None:
    run("batching.py", tmp_path, "--window=0.5", "--budget=30")
    records = lines(tmp_path / "batching.jsonl")
    runs = [record for record in records if record["kind"] == "batching"]
    assert runs
    for record in runs:
        assert len(record["latencies_us"]) == len(record["arrivals"]) == sum(record["batches"])
        assert max(record["batches"], default=0) <= record["max_batch"]


def test_a_cold_start_has_all_its_stages(tmp_path: Path) -> None:
    run("coldstart.py", tmp_path, "--repeats=1", "--budget=120")
    starts = [record for record in lines(tmp_path / "coldstart.jsonl") if record["kind"] == "cold_start"]
    assert {start["model"] for start in starts} == {"tiny", "small"}
    for start in starts:
        stages = {stage["stage"]: stage["seconds"] for stage in start["stages"]}
        parts = sum(seconds for name, seconds in stages.items() if name != "process and its end")
        assert parts <= stages["process and its end"]
