"""Records as JSON lines, each written out and flushed at once so that a run that is cut keeps what it has."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

#: Version of the format, read by `tenfold validate --engine`.
FORMAT = 1


class Records:
    """A file of JSON lines, and a log beside it: its own, or that of other records."""

    def __init__(self, folder: Path, name: str, log: Records | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.started: float = log.started if log else time.perf_counter()
        self._file: TextIO = (folder / f"{name}.jsonl").open("w", encoding="utf-8")
        self._log: TextIO = log._log if log else (folder / f"{name}.log").open("w", encoding="utf-8")

    def write(self, kind: str, **fields: Any) -> None:
        """One line."""
        self._file.write(json.dumps({"kind": kind, **fields}, separators=(",", ":")) + "\n")
        self._file.flush()

    def raw(self, line: dict[str, Any]) -> None:
        """One line as it is."""
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._file.flush()

    def note(self, text: str) -> None:
        """A line of the log, on the screen too."""
        line = f"{time.perf_counter() - self.started:8.1f} s  {text}"
        print(line, flush=True)
        self._log.write(line + "\n")
        self._log.flush()

    def trace(self, what: str) -> str:
        """The traceback of the exception being handled into the log; its last line is returned."""
        text = traceback.format_exc()
        self.note(f"{what} failed:\n{text}")
        return text.strip().splitlines()[-1]

    def failed(self, what: str) -> None:
        """The exception being handled, as a line and with its traceback in the log."""
        self.write("failed", what=what, error=self.trace(what))


def smi(query: str) -> str | None:
    """One value of `nvidia-smi --query-gpu`, where there is one."""
    try:
        out = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return out.stdout.strip().splitlines()[0] if out.stdout.strip() else None


def facts(device: str) -> dict[str, Any]:
    """The machine and the software."""
    import torch
    import transformers

    found: dict[str, Any] = {
        "format": FORMAT,
        "unix_seconds": int(time.time()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "host_cpus": len(os.sched_getaffinity(0)),
        "device": "cpu",
        "threads": torch.get_num_threads(),
    }
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "device": properties.name,
            "cuda": torch.version.cuda,
            "memory_bytes": properties.total_memory,
            "driver": smi("driver_version"),
        }
    return found
