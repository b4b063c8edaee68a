"""Scenarios, and what is said of wrong ones."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import tenfold


def test_a_scenario_comes_back_from_text_dict_and_pickle(one_server: tenfold.Scenario) -> None:
    changed = one_server.set({"components.db.servers": 2, "components.db.service_time": {"constant": "50ms"}})
    assert "servers = 2" in changed.to_toml() and 'constant = "50ms"' in changed.to_toml()
    for again in (
        tenfold.Scenario.from_toml(changed.to_toml()),
        tenfold.Scenario.from_dict(changed.to_dict()),
        pickle.loads(pickle.dumps(changed)),
    ):
        assert again == changed and again.hash == changed.hash
    assert changed != one_server and changed.hash != one_server.hash


@pytest.mark.parametrize("name", tenfold.library())
def test_every_scenario_of_the_library_can_be_run_and_shown(name: str) -> None:
    scenario = tenfold.Scenario.library(name)
    assert all(warning for warning in tenfold.validate(scenario))
    assert tenfold.Scenario.from_dict(scenario.to_dict()).hash == scenario.hash
    assert scenario.architecture().startswith("<svg") and scenario.name in scenario._repr_html_().replace("&#x27;", "'")
    for variant in scenario.variants:
        assert variant in repr(scenario.variant(variant))


def test_an_error_has_file_line_column_and_remedy(tmp_path: Path, one_server: tenfold.Scenario) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(one_server.to_toml().replace("100ms", "100mss"))
    with pytest.raises(tenfold.ScenarioError) as caught:
        tenfold.Scenario.load(file)
    error = caught.value
    line = 1 + file.read_text()[: file.read_text().index("100mss")].count("\n")
    assert (error.file, error.line) == (str(file), line)
    assert isinstance(error, ValueError) and "100mss" in error.message and error.remedy
    assert str(error).startswith(f"{file}:{line}:{error.column}: ") and "100mss" in error.excerpt
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_wrong_arguments_say_what_would_be_accepted(one_server: tenfold.Scenario, tmp_path: Path) -> None:
    with pytest.raises(tenfold.ScenarioError, match="did you mean `servers`"):
        one_server.set({"components.db.server": 2})
    with pytest.raises(tenfold.ScenarioError, match="no such file"):
        tenfold.run(tmp_path / "nothing.toml")
    with pytest.raises(tenfold.ScenarioError, match="expected one of"):
        tenfold.Scenario.library("nothing")
    with pytest.raises(ValueError, match='scale: 0 is no multiple: expected 10 or "10x"'):
        tenfold.run(one_server, scale=0)
    with pytest.raises(ValueError, match="duration"):
        tenfold.run(one_server, duration="5 parsecs")
    with pytest.raises(ValueError, match="design: best: expected one of grid, random, lhs"):
        tenfold.sweep(one_server, {"scale": [1]}, design="best")
    with pytest.raises(TypeError, match="a scenario has no object"):
        tenfold.Scenario.from_dict({"name": object()})
    with pytest.raises(KeyError, match="latency_p99_s"):
        tenfold.run(one_server).summary["latency"]
    with pytest.raises(OSError):
        tenfold.run(one_server).write("/proc/nothing")
