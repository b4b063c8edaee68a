"""Progress by tqdm, where it is installed and somebody looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def _is_watched() -> bool:
    return "ipykernel" in sys.modules or sys.stderr.isatty()


@contextmanager
def telling(progress: bool | None, what: str) -> Iterator[Callable[[float], None] | None]:
    """What is to be told the share that is done, from 0 to 1; ``None`` where nobody wants to know."""
    if progress is False or (progress is None and not _is_watched()):
        yield None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        if progress:
            raise
        yield None
        return
    layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    # Short work shows nothing.
    with tqdm(total=1.0, desc=what, bar_format=layout, leave=False, delay=0.3) as bar:

        def tell(share: float) -> None:
            bar.update(max(0.0, share - bar.n))

        yield tell
