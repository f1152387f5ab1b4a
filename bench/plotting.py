"""Plots of a report: PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.report import Plot

OURS = 'ours'


def draw(plots: Sequence[Plot], where: dict[str, Any], out: Path) -> None:
    """Draw all plots into ``out``; without matplotlib say so and go on."""
    if not plots:
        return
    try:
        import matplotlib
    except ImportError:
        print("- no plots: pip install 'shmstream[bench]' brings matplotlib")
        return
    matplotlib.use('Agg')
    for plot in plots:
        _draw(plot, where, out)
        print(f'- {out / plot.name}.png, .svg', flush=True)


def _draw(plot: Plot, where: dict[str, Any], out: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout='constrained')
    names = list(
        dict.fromkeys(str(p[0]) for points in plot.series.values() for p in points)
    )
    bars = any(isinstance(p[0], str) for points in plot.series.values() for p in points)
    width = 0.8 / max(len(plot.series), 1)
    for number, (label, points) in enumerate(plot.series.items()):
        ys = [float(p[1]) for p in points]
        spread = None
        if points and all(len(p) == 4 for p in points):
            low = [max(float(p[1]) - float(p[2]), 0) for p in points]
            spread = (low, [max(float(p[3]) - float(p[1]), 0) for p in points])
        if bars:
            at = [names.index(str(p[0])) + (number + 0.5) * width - 0.4 for p in points]
            axes.bar(at, ys, width, yerr=spread, label=label, capsize=2)
        else:
            axes.errorbar(
                [float(p[0]) for p in points],
                ys,
                yerr=spread,
                label=label,
                marker='o',
                capsize=2,
                linewidth=2.5 if label.startswith(OURS) else 1.2,
            )
    if bars:
        axes.set_xticks(range(len(names)), names)
    if plot.log_x:
        axes.set_xscale('log')
    if plot.log_y:
        axes.set_yscale('log')
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    axes.set_title(plot.title)
    axes.grid(visible=True, alpha=0.3)
    if plot.series:
        axes.legend()
    axes.text(
        0,
        -0.14,
        f'{where["cpu"]}, {where["cores"]} cores, Linux {where["kernel"]}, '
        f'{where["commit"]}, {where["date"]}',
        transform=axes.transAxes,
        fontsize=7,
        color='gray',
    )
    for suffix in ('png', 'svg'):
        figure.savefig(out / f'{plot.name}.{suffix}', dpi=120)
    pyplot.close(figure)
