"""Sweeps on one machine, in shards and on a Dask cluster: the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import tenfold

from conftest import ONE_SERVER
from test_experiments import COMMAND, command

AXES = {"components.db.servers": [1, 2, 3], "scale": "0.5..1.5/0.1"}


def test_a_sweep_in_shards_has_the_same_bytes(one_server: tenfold.Scenario, tmp_path: Path) -> None:
    whole = tenfold.sweep(one_server, AXES, out=tmp_path / "whole", duration="30s")
    assert whole.points == 33 and whole.failed == 0 and whole.passed + whole.missed == 33
    assert len(whole.frame) == 33 and whole.frame["components.db.servers"][:12] == [1] * 11 + [2]
    parts = [tmp_path / f"part-{index}" for index in range(1, 4)]
    for index, part in enumerate(parts, 1):
        assert tenfold.sweep(one_server, AXES, out=part, shard=f"{index}/3", duration="30s").path is None
    told = tenfold.merge(parts, tmp_path / "joined.parquet")
    assert told["points"] == 33
    assert (tmp_path / "joined.parquet").read_bytes() == whole.path.read_bytes()
    assert whole.report().pictures
    with pytest.raises(tenfold.ScenarioError, match="resume=True"):
        tenfold.sweep(one_server, AXES, out=tmp_path / "whole", duration="30s")
    assert tenfold.sweep(one_server, AXES, out=tmp_path / "whole", duration="30s", resume=True).points == 33


@command
def test_a_sweep_has_the_bytes_of_the_command(one_server: tenfold.Scenario, tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text(one_server.to_toml())
    axes = [f"--axis={path}={values if isinstance(values, str) else ','.join(map(str, values))}" for path, values in AXES.items()]
    out = tmp_path / "there"
    subprocess.run([COMMAND, "sweep", file, *axes, "--duration", "30s", "--out", out, "--quiet"], check=True)
    here = tenfold.sweep(file, AXES, out=tmp_path / "here", duration="30s")
    assert here.path.read_bytes() == (out / "sweep.parquet").read_bytes()


def test_a_temporary_sweep_goes_with_its_result(one_server: tenfold.Scenario) -> None:
    result = tenfold.sweep(one_server, {"components.db.servers": [1, "nothing"]}, duration="30s")
    assert (result.points, result.failed) == (2, 1) and result.first_error
    path = result.path
    assert path.exists()
    del result
    assert not path.exists()


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


#: Two axes of which 2,000 points are drawn.
DRAWN = {"components.db.servers": "1..4/1", "scale": "0.5..1.5"}


def _two_thousand(**options: object) -> tenfold.SweepResult:
    scenario = tenfold.Scenario.from_dict(ONE_SERVER)
    return tenfold.sweep(scenario, DRAWN, samples=2_000, **({"duration": "30s", "replications": 1} | options))


@pytest.fixture(scope="module")
def on_one_machine() -> bytes:
    """The sweep on one machine."""
    whole = _two_thousand()
    assert whole.points == 2_000 and whole.failed == 0
    return whole.path.read_bytes()


@pytest.mark.parametrize("shared", [False, True])
def test_no_point_is_lost_or_doubled_when_a_worker_is_killed(
    cluster, on_one_machine: bytes, tmp_path: Path, shared: bool
) -> None:
    cluster.wait_for_workers(2)
    victim = next(iter(cluster.run(os.getpid).values()))
    out, killed = tmp_path / "cluster", []

    def finished() -> int:
        return len(list((out / "shards").glob("shard-*")))

    def kill() -> None:
        # In the middle: once some shards are there.
        while finished() < 6:
            time.sleep(0.01)
        killed.append(finished())
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    result = _two_thousand(out=out, client=cluster, chunks=40, shared=shared)
    killer.join(timeout=10)
    assert killed and killed[0] < 40
    assert result.path.read_bytes() == on_one_machine
    assert result.frame["point"] == list(range(2_000))
    assert not list((out / "shards").glob(".*")) and result.report().pictures
    with pytest.raises(tenfold.ScenarioError, match="resume=True"):
        _two_thousand(out=out, client=cluster)
    # What is there is taken up, but is not taken for another sweep.
    again = _two_thousand(out=out, client=cluster, shared=shared, resume=True)
    assert again.path.read_bytes() == on_one_machine
    with pytest.raises(tenfold.ScenarioError, match="another sweep"):
        _two_thousand(out=out, client=cluster, shared=shared, resume=True, duration="20s")


def test_the_runner_gives_the_same_bytes(cluster, one_server: tenfold.Scenario, tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text(one_server.set({"run.duration": "30s"}).to_toml())
    out = tmp_path / "out"
    arguments = ["--scheduler", cluster.scheduler.address, "--axis", "components.db.servers=1,2,3", "--out", str(out)]
    told = subprocess.run(
        [sys.executable, "-m", "tenfold.dask", str(file), *arguments], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert "3 points" in told.stdout
    whole = tenfold.sweep(file, {"components.db.servers": [1, 2, 3]}, out=tmp_path / "whole")
    assert (out / "sweep.parquet").read_bytes() == whole.path.read_bytes()
    wrong = subprocess.run(
        [sys.executable, "-m", "tenfold.dask", str(tmp_path / "no.toml"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert wrong.returncode == 2 and "no such file" in wrong.stderr


@command
def test_the_recipes_for_batch_schedulers_give_the_same_bytes(one_server: tenfold.Scenario, tmp_path: Path) -> None:
    """What Slurm and Kubernetes would start, started by hand; of a task that was killed, the rest is run."""
    recipes = Path(__file__).parents[1] / "clusters"
    file = tmp_path / "scenario.toml"
    file.write_text(one_server.set({"run.duration": "30s", "sweep": {"axes": AXES}}).to_toml())
    whole = tenfold.sweep(file, out=tmp_path / "whole")

    slurm = tmp_path / "slurm"
    slurm.mkdir()
    for index in (3, 1, 2, 2):
        told = {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_ARRAY_TASK_COUNT": "3", "TENFOLD": str(COMMAND)}
        subprocess.run([recipes / "slurm.sh", file, slurm], env=os.environ | told, check=True)
    tenfold.merge(sorted(slurm.iterdir()), tmp_path / "slurm.parquet")
    assert (tmp_path / "slurm.parquet").read_bytes() == whole.path.read_bytes()

    lines = (recipes / "kubernetes.yaml").read_text().splitlines()
    start = next(row for row, line in enumerate(lines) if "exec tenfold sweep" in line)
    script = " ".join(line.strip() for line in lines[start : start + 3])
    script = script.replace("/sweep", str(tmp_path / "pods")).replace("tenfold sweep", f"{COMMAND} sweep")
    (tmp_path / "pods").mkdir()
    (tmp_path / "pods/scenario.toml").write_text(file.read_text())
    for index in range(2):
        told = {"JOB_COMPLETION_INDEX": str(index), "SHARDS": "2"}
        subprocess.run(["/bin/sh", "-euc", script], env=os.environ | told, check=True)
    tenfold.merge(sorted((tmp_path / "pods").glob("shard-*")), tmp_path / "pods.parquet")
    assert (tmp_path / "pods.parquet").read_bytes() == whole.path.read_bytes()
