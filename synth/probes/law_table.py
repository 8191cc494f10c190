"""Prints the layer law of a model."""

from typing import Any

from synth.probes.law import LawReport


def law_table(label: dict[str, Any], report: LawReport) -> str:
    """A report as text: one line for each layer, then the fits."""
    heading = " ".join(f"{key}={value}" for key, value in label.items())
    lines = [heading] if heading else []
    if report.floor is not None:
        lines.append(f"no state can have a residual t+1 below {report.floor:.5g}")
    for path, names in report.paths.items():
        columns = [
            (statistic, target)
            for statistic, targets in report.layers[names[0]].values.items()
            for target in targets
        ]
        last = report.layers[names[-1]]
        lines.append(f"\n{path}: {last.count} positions, rank {last.rank}")
        for title, part in (("layer", 0), ("", 1)):
            heads = " ".join(f"{column[part]:>12}" for column in columns)
            lines.append(f"{title:<16}{heads}")
        for name in names:
            values = [report.layers[name].values[s][t] for s, t in columns]
            cells = " ".join(f"{value:>12.5g}" for value in values)
            lines.append(f"{name:<16}{cells}")
        for statistic, fits in report.fits[path].items():
            for target, fit in fits.items():
                lines.append(
                    f"line {statistic} {target}: slope {fit.slope:+.4f} "
                    f"[{fit.slope_low:+.4f}, {fit.slope_high:+.4f}] decades a layer, "
                    f"factor {fit.factor:.3f}, R2 {fit.r_squared:.3f}, Pearson "
                    f"{fit.pearson:+.3f} (monotone null: {fit.null_pearson:.3f}, as "
                    f"straight in {fit.null_share:.1%}), {fit.layers} layers"
                )
    return "\n".join(lines)
