"""The curves of ``gateway-saturation`` as a picture: ``python -m benchmarks.plot CURVES.json PICTURE.png``.

Needs matplotlib (``requirements/bench.txt``, which ``make bench`` installs).
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

_COLOURS = {"p50": "#2a6f97", "p99": "#c1440e"}

#: Of the picture's palette.
_COLOURS_KEPT = 48


def draw_if_possible(curves: Path, picture: Path) -> None:
    """Says so where it is not."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no picture: matplotlib is not installed (requirements/bench.txt)", file=sys.stderr)
        return
    draw(json.loads(curves.read_text()), picture)
    print(f"picture: {picture}", file=sys.stderr)


def draw(document: dict[str, Any], picture: Path) -> None:
    """One column for each load: above, latency over what is accepted; below, what becomes of what is offered."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from PIL import Image

    curves = document["curves"]
    figure, rows = plt.subplots(2, len(curves), figsize=(4.2 * len(curves), 6.4), squeeze=False, layout="constrained")
    for column, (name, curve) in enumerate(curves.items()):
        _latency(rows[0][column], name, curve)
        _fate(rows[1][column], curve)
    about, commit = document["machine"], document["commit"]
    figure.suptitle(
        "Durable events through one gateway process: latency, and what is refused, up to and past saturation"
    )
    figure.supxlabel(
        f"{about['cores']} cores ({about['cpu']}), shared with broker and callers; bounds of 16 MiB and 1,000 calls in "
        f"flight; commit {commit['id'][:10]}",
        fontsize=7,
        color="#555555",
    )
    figure.savefig(picture, dpi=80)
    plt.close(figure)
    with Image.open(picture) as drawn:  # a few colours are enough: a third of the bytes
        drawn.convert("RGB").quantize(_COLOURS_KEPT).save(picture, optimize=True)


def _latency(axes: Any, name: str, curve: dict[str, Any]) -> None:
    accepted = [step["accepted"] / 1000 for step in curve["steps"]]
    for quantile, colour in _COLOURS.items():
        values = [step[quantile] * 1000 for step in curve["steps"]]
        axes.plot(accepted, values, "o-", color=colour, label=quantile, markersize=3.5, linewidth=1.2)
    axes.axvline(curve["most"] / 1000, color="#999999", linestyle=":", linewidth=1, label="most, closed loop")
    axes.set(title=name, yscale="log", xlabel="accepted, 1,000 events/s", ylabel="answer after, ms", xlim=(0, None))
    axes.grid(alpha=0.25, which="both")
    axes.legend(fontsize=7, loc="upper left")


def _fate(axes: Any, curve: dict[str, Any]) -> None:
    most = curve["most"]
    offered = [step["offered"] / most for step in curve["steps"]]
    accepted = [step["accepted"] / most for step in curve["steps"]]
    axes.plot(offered, offered, ":", color="#999999", linewidth=1, label="all that is offered")
    axes.plot(offered, accepted, "o-", color="#2a6f97", markersize=3.5, linewidth=1.2, label="accepted")
    refused = [step["refused"] for step in curve["steps"]]
    axes.bar(offered, refused, width=0.04, color="#c1440e", alpha=0.7, label="refused, share of the calls")
    axes.set(xlabel="offered / most", ylabel="accepted / most", ylim=(0, 1.7), xlim=(0, None))
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, loc="upper left")


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
