"""Frames reach other libraries through Arrow, without copying."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import tenfold

pl = pytest.importorskip("polars")


def test_frames_reach_all_libraries(one_server: tenfold.Scenario) -> None:
    pa, pd, duckdb = map(pytest.importorskip, ("pyarrow", "pandas", "duckdb"))
    frame = tenfold.run(one_server).summary
    polars = pl.DataFrame(frame)
    assert polars.columns == frame.columns and polars.shape == frame.shape
    for name in frame.columns:
        assert polars[name].to_list() == frame[name]
    assert pa.table(frame).to_pylist() == polars.to_dicts()
    pandas = pd.DataFrame.from_arrow(frame) if hasattr(pd.DataFrame, "from_arrow") else pa.table(frame).to_pandas()
    assert pandas["latency_mean_s"].tolist() == frame["latency_mean_s"]
    assert duckdb.sql("select max(latency_mean_s) from frame").fetchall()[0][0] == max(frame["latency_mean_s"])
    # A stream can be asked for again, and its frame may go before it.
    del frame
    assert polars["class"][0] == "all"


def test_a_million_rows_reach_polars_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = 1_000_000
    made = pl.DataFrame({
        "point": pl.Series(range(rows), dtype=pl.UInt64),
        "latency_p99_s": [float(row) for row in range(rows)],
        "finding": [f"nothing is overloaded at point {row}" for row in range(rows)],
        "error": pl.Series([None] * rows, dtype=pl.String),
    })
    made.write_parquet(tmp_path / "million.parquet")
    frame = tenfold.Frame.read_parquet(tmp_path / "million.parquet")
    took = []
    for _ in range(5):
        started = time.perf_counter()
        there = pl.DataFrame(frame)
        took.append(time.perf_counter() - started)
    assert there.equals(made)
    with capsys.disabled():
        print(f"\na million rows to polars: {1e3 * sorted(took)[2]:.2f} ms")
    # The same memory, seen twice: the values are not copied.
    pa = pytest.importorskip("pyarrow")
    first, second = pa.table(frame), pa.table(frame)
    for name in made.columns:
        there, again = (table[name].chunk(0).buffers() for table in (first, second))
        assert [buffer.address for buffer in there if buffer] == [buffer.address for buffer in again if buffer]
