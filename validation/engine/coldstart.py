"""Cold starts of an engine, stage by stage: `python coldstart.py --out DIR`.

Each start is a process of its own: the interpreter and its imports, the CUDA context, the weights (from the page cache,
and from the disk where the page cache can be told to forget them), the engine, its graphs, and the first token of a
request. Written into DIR: `coldstart.jsonl`, line by line, and a log."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MARK = "coldstart-stage "


def stage(name: str, began: float, **more: Any) -> float:
    """Says that a stage is over; when."""
    now = time.time()
    print(MARK + json.dumps({"stage": name, "seconds": round(now - began, 6), **more}), flush=True)
    return now


def child(args: argparse.Namespace) -> int:
    """One cold start."""
    at = stage("process", args.child)
    import torch

    import models
    from engine import Engine, EngineConfig, Request
    from records import Records

    at = stage("imports", at)
    if args.device == "cuda":
        torch.zeros(1, device="cuda")
        torch.cuda.synchronize()
    at = stage("context", at)
    from safetensors.torch import load_file

    weights = load_file(args.weights, device=args.device)
    if args.device == "cuda":
        torch.cuda.synchronize()
    at = stage("weights", at, bytes=os.path.getsize(args.weights))
    model = models.loaded(args.model, args.device, weights)
    at = stage("model", at)
    # A small cache: graphs for every size of a large one take most of a start.
    config = EngineConfig(
        name="cold",
        model=args.model,
        device=args.device,
        cuda_graph=args.device == "cuda",
        num_blocks=512,
    )
    if args.device == "cpu":
        config.max_batch_tokens, config.max_requests_per_batch = 128, 16
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(config, Records(Path(folder), "engine"), model)
        captured = engine.captured_seconds
        at = stage("engine", at + captured)
        print(MARK + json.dumps({"stage": "graphs", "seconds": captured}), flush=True)
        with engine:
            engine._ask("first:0", Request(0.0, 128, 1))
            while engine._take(1.0) is None:
                pass
            stage("first token", at)
    return 0


def start(args: argparse.Namespace, model: str, weights: Path, cached: bool) -> list[dict[str, Any]]:
    """Starts a process and reads its stages."""
    if cached:
        with weights.open("rb", buffering=0) as file:
            while file.read(64 << 20):
                pass
    else:
        file_number = os.open(weights, os.O_RDONLY)
        os.posix_fadvise(file_number, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file_number)
    began = time.time()
    run = subprocess.run(
        [
            sys.executable,
            __file__,
            f"--out={args.out}",
            f"--device={args.device}",
            f"--child={began}",
            f"--model={model}",
            f"--weights={weights}",
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    total = time.time() - began
    lines = [line for line in run.stdout.splitlines() if line.startswith(MARK)]
    stages = [json.loads(line.removeprefix(MARK)) for line in lines]
    if run.returncode != 0 or len(stages) < 8:
        raise RuntimeError(run.stderr[-2000:] or "too few stages")
    return [*stages, {"stage": "process and its end", "seconds": round(total, 6)}]


def parent(args: argparse.Namespace) -> int:
    """The starts, the smaller model first: the larger one is predicted from it."""
    import torch

    import models
    from records import Records, facts

    if args.device == "cuda" and not torch.cuda.is_available():
        print("PyTorch sees no GPU here: expected one, or --device cpu", file=sys.stderr)
        return 2
    from safetensors.torch import save_file

    end = time.perf_counter() + args.budget
    records = Records(args.out, "coldstart")
    records.write("machine", **facts(args.device))
    names = ["llama-3.2-1b", "llama-3.2-3b"] if args.device == "cuda" else ["tiny", "small"]
    with tempfile.TemporaryDirectory() as folder:
        saved: dict[str, Path] = {}
        for name in names:
            weights = Path(folder) / f"{name}.safetensors"
            try:
                model = models.build(name, args.device, "eager")
                own = {key: value.cpu() for key, value in model.state_dict().items()}
                if model.config.tie_word_embeddings:
                    own.pop("lm_head.weight")
                del model
                save_file(own, weights)
                os.sync()
                del own
                saved[name] = weights
                records.note(f"weights of {name} are there")
            except Exception:
                records.failed(f"weights of {name}")
        # Both models in turn: what is cut off leaves pairs.
        for repeat, cached, (name, weights) in itertools.product(
            range(args.repeats), (True, False), saved.items()
        ):
            what = f"{name}, {'page cache' if cached else 'disk'}, {repeat}"
            if time.perf_counter() + 25 > end:
                records.write("left_out", what=what, seconds=25)
                continue
            try:
                stages = start(args, name, weights, cached)
            except Exception:
                records.failed(what)
                continue
            records.write(
                "cold_start",
                model=name,
                layers=models.SHAPES[name]["num_hidden_layers"],
                cached=cached,
                repeat=repeat,
                stages=stages,
            )
            seconds = {s["stage"]: round(s["seconds"], 2) for s in stages}
            records.note(f"{what}: {seconds}")
    records.write("end", seconds=round(args.budget - (end - time.perf_counter()), 3))
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--budget", type=float, default=150.0, help="seconds after which no start is begun")
    parser.add_argument("--repeats", type=int, default=2, help="starts of each kind")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    args = parser.parse_args()
    return parent(args) if args.child is None else child(args)


if __name__ == "__main__":
    sys.exit(main())
