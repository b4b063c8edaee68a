"""Arguments: what is refused, in the names of Python, and what one thing alone stands for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tenfold

from test_experiments import COMMAND, command

SERVERS = "components.db.servers"
SHORT: dict[str, Any] = {"duration": "30s", "replications": 1}
#: The largest seed, and the first that a signed number does not hold.
SEEDS = (2**64 - 1, 2**63)


@pytest.mark.parametrize("seed", SEEDS)
def test_seeds_go_as_far_as_those_of_the_command(one_server: tenfold.Scenario, tmp_path: Path, seed: int) -> None:
    result = tenfold.run(one_server, seed=seed, **SHORT)
    assert result.provenance["seed"] == seed
    luck = {"run.seed": seed, "run.replications": 1}
    there = one_server.set(luck)
    assert there.to_dict()["run"]["seed"] == seed
    for again in (tenfold.Scenario.from_dict(there.to_dict()), tenfold.Scenario.from_toml(there.to_toml())):
        assert again == there and tenfold.run(again, duration="30s").fingerprints == result.fingerprints
    swept = tenfold.sweep(one_server, {SERVERS: [1, 2]}, seed=seed, **SHORT)
    assert swept.frame["seed"] == [seed, seed]
    assert tenfold.plan(one_server, {SERVERS: [1, 4]}, seed=seed, **SHORT).best
    if COMMAND.exists():
        file = tmp_path / "one.toml"
        file.write_text(one_server.to_toml())
        options = [f"--seed={seed}", "--replications=1", "--duration=30s", "--format=json", "--quiet"]
        told = subprocess.run([COMMAND, "run", file, *options], capture_output=True, check=False)
        assert json.loads(told.stdout)["provenance"]["fingerprints"] == result.fingerprints


def test_seeds_beyond_that_are_refused_with_the_limit(one_server: tenfold.Scenario) -> None:
    for seed in (2**64, -1):
        with pytest.raises(ValueError, match=f"seed: {seed}: expected a whole number from 0 to {2**64 - 1}"):
            tenfold.run(one_server, seed=seed)
    for values in ({"run": {"seed": 2**64}}, {"run": {"seed": -(2**63) - 1}}):
        with pytest.raises(ValueError, match=r"expected an integer from -2\^63 to 2\^64 - 1"):
            tenfold.Scenario.from_dict(values)
    with pytest.raises(ValueError, match=r"expected an integer from -2\^63 to 2\^64 - 1"):
        one_server.set({"run.seed": 2**64})


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"rate": "8/s", "scale": 2}, "'rate' cannot be used with 'scale'"),
        # Also one that changes nothing, as with the command.
        ({"rate": "8/s", "scale": 1}, "'rate' cannot be used with 'scale'"),
        ({"users": 3, "requests_per_user": "6/h", "scale": "2x"}, "'users' cannot be used with 'scale'"),
        ({"rate": "8/s", "users": 3}, "'rate' cannot be used with 'users'"),
        ({"warm": "db"}, "'warm' cannot be used with 'axes'"),
        ({"requests_per_user": "6/h"}, "'requests_per_user' cannot be used without 'users'"),
        ({"resume": True}, "'resume' cannot be used without 'out'"),
        ({"rate": "0/s"}, "rate: 0/s: expected a rate above 0"),
    ],
)
def test_a_plan_refuses_what_the_command_refuses(
    one_server: tenfold.Scenario, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        tenfold.plan(one_server, {SERVERS: [1, 4]}, **asked)


@command
def test_the_command_says_so_in_the_same_words() -> None:
    asked = ["plan", "x.toml", "--rate", "8/s", "--scale", "2"]
    told = subprocess.run([COMMAND, *asked], capture_output=True, text=True, check=False)
    assert "the argument '--rate <RATE>' cannot be used with '--scale <K>'" in told.stderr
    with pytest.raises(ValueError, match="^the argument 'rate' cannot be used with 'scale'$"):
        tenfold.plan(tenfold.Scenario.library("llm-capacity"), rate="8/s", scale=2)


def test_a_plan_without_a_scale_is_one_of_todays_load(one_server: tenfold.Scenario) -> None:
    options = {"duration": "2m", "replications": 1}
    today, same = (tenfold.plan(one_server, {SERVERS: [1, 4]}, **options, **more) for more in ({}, {"scale": 1}))
    assert today.to_dict() == same.to_dict()


WRONG: list[tuple[str, type[Exception], Callable[[tenfold.Scenario], object]]] = [
    ("threads: 'two': expected a whole number from 1", TypeError, lambda one: tenfold.run(one, threads="two")),
    ("threads: 0: expected a whole number from 1", ValueError, lambda one: tenfold.run(one, threads=0)),
    ("seed: 'x': expected a whole number", TypeError, lambda one: tenfold.run(one, seed="x")),
    ("replications: 0: expected a whole number from 1", ValueError, lambda one: tenfold.run(one, replications=0)),
    ("trace: 5: expected a path", TypeError, lambda one: tenfold.run(one, trace=5)),
    ("until: 5: expected such as", TypeError, lambda one: tenfold.run(one, until=5)),
    ("duration: .*: expected a time", TypeError, lambda one: tenfold.run(one, duration=[1])),
    ("variant: 5: expected the name", TypeError, lambda one: tenfold.run(one, variant=5)),
    ("set: 'a.b=1': expected a dict by path", TypeError, lambda one: tenfold.run(one, set="a.b=1")),
    ("scenario: 5: expected a Scenario, the path", TypeError, lambda one: tenfold.run(5)),
    ("scale: 10xx is no multiple", ValueError, lambda one: tenfold.run(one, scale="10xx")),
    ("users: -5: expected a whole number", ValueError, lambda one: tenfold.plan(one, users=-5)),
    ("rate: 5: expected a rate, such as", TypeError, lambda one: tenfold.plan(one, rate=5)),
    ("pareto: -1: expected a whole number", ValueError, lambda one: tenfold.plan(one, pareto=-1)),
    ("axes: 'a=1': expected a dict by path", TypeError, lambda one: tenfold.plan(one, "a=1")),
    ("axes: 'a=1': expected a dict by path", TypeError, lambda one: tenfold.sweep(one, "a=1")),
    ("samples: -1: expected a whole number", ValueError, lambda one: tenfold.sweep(one, {"scale": "1..2"}, samples=-1)),
    ("shard: 1: expected I/N", TypeError, lambda one: tenfold.sweep(one, {"scale": [1]}, shard=1)),
    ("variants: .*: expected names", TypeError, lambda one: tenfold.compare(one, variants=[1])),
    ("multipliers: none: expected at least one", ValueError, lambda one: tenfold.stress(one, multipliers=[])),
    ("multipliers: x is no multiple", ValueError, lambda one: tenfold.stress(one, multipliers="x")),
    (
        "'fallbacks' cannot be used with 'levels_only'",
        ValueError,
        lambda one: tenfold.stress(one, levels_only=True, fallbacks=True),
    ),
    ("directories: 5: expected a path", TypeError, lambda one: tenfold.merge([5], "x.csv")),
    ("bench: 5: expected a path", TypeError, lambda one: tenfold.calibrate(one, 5)),
]


@pytest.mark.parametrize(("words", "kind", "call"), WRONG, ids=[words for words, *_ in WRONG])
def test_what_is_wrong_is_named_as_python_names_it(
    one_server: tenfold.Scenario, words: str, kind: type[Exception], call: Callable[[tenfold.Scenario], object]
) -> None:
    with pytest.raises(kind, match=words):
        call(one_server)


#: Of experiments, for which the command has options.
OF_THE_COMMAND: list[tuple[str, Callable[[tenfold.Scenario, Path], object]]] = [
    (r'expected axes=\{"components.db.servers": \[1, 2, 4\]\}', lambda one, out: tenfold.sweep(one)),
    (r'expected axes=\{"components.db.servers": "1..8/1"\}', lambda one, out: tenfold.plan(one)),
    ('expected scale="10x", or variant="NAME"', lambda one, out: tenfold.plan(one, {"scale": [1, 2]})),
    ('expected requests_per_user="6/h"', lambda one, out: tenfold.plan(one, users=5)),
    ("axes: `1..x/1`: `x` is no number", lambda one, out: tenfold.sweep(one, {SERVERS: "1..x/1"})),
    ("variant a of several files", lambda one, out: tenfold.compare(one, one, variants="a")),
    ("set:1:15: unknown key `server`", lambda one, out: one.set({"components.db.server": 1})),
    ("resume=True takes up a plan", lambda one, out: [tenfold.plan(one, {SERVERS: [1, 4]}, out=out, **SHORT)] * 2),
]


def test_errors_of_experiments_name_no_options_of_the_command(one_server: tenfold.Scenario, tmp_path: Path) -> None:
    tenfold.plan(one_server, {SERVERS: [1, 4]}, out=tmp_path, **SHORT)
    for words, call in OF_THE_COMMAND:
        with pytest.raises(tenfold.ScenarioError, match=words) as caught:
            call(one_server, tmp_path)
        error = caught.value
        assert "--" not in f"{error} {error.file} {error.excerpt}".replace("──", ""), error


def test_lines_of_a_file_stand_in_its_error_as_they_are(tmp_path: Path, one_server: tenfold.Scenario) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(one_server.to_toml().replace('"100ms"', '"100mss" # not --set'))
    with pytest.raises(tenfold.ScenarioError) as caught:
        tenfold.Scenario.load(file)
    assert "# not --set" in caught.value.excerpt


def test_one_thing_alone_stands_for_a_list_of_it(one_server: tenfold.Scenario, tmp_path: Path) -> None:
    two = {"name": "two", "set": {SERVERS: 2}}
    scenario = tenfold.Scenario.from_dict(one_server.to_dict() | {"variant": [two, {"name": "same"}]})
    comparison = tenfold.compare(scenario, variants="two", **SHORT)
    assert [result.variant for result in comparison.results] == ["base", "two"]
    for multiple in (2, "2x", ["2x"], (2.0,)):
        stressed = tenfold.stress(one_server, multipliers=multiple, levels_only=True, **SHORT)
        assert sorted(set(stressed.summary["multiplier"])) == [1.0, 2.0]
    axes = {SERVERS: [1, 4]}
    alone, listed = (
        tenfold.plan(one_server, axes, tornado=paths, duration="2m", replications=1).to_dict()
        for paths in ("slo.latency.p99", ["slo.latency.p99"])
    )
    assert alone == listed
    parts = tmp_path / "part"
    tenfold.sweep(one_server, axes, out=parts, shard="1/1", **SHORT)
    for directory in (parts, str(parts), [parts]):
        assert tenfold.merge(directory, tmp_path / "joined.csv")["points"] == 2


def test_a_calibration_takes_what_stands_for_a_scenario(tmp_path: Path, bench: Path) -> None:
    scenario = tenfold.Scenario.library("llm-capacity").set({"components.llm.model": "qwen3-14b"})
    file = tmp_path / "scenario.toml"
    file.write_text(scenario.to_toml())
    expected = tenfold.calibrate(scenario, bench).to_toml()
    for same in (file, str(file), scenario.to_dict()):
        assert tenfold.calibrate(same, str(bench)).to_toml() == expected
    model = {"components.llm.model": "llama-3.1-8b"}
    other = tenfold.calibrate(file, bench, set=model)
    assert other.to_toml() == tenfold.calibrate(scenario.set(model), bench).to_toml() != expected
