"""The command notebooks: any table through `yours.py`, or all scripts executed anew."""

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from analysis.commands import check_writable
from analysis.parquet import results_folder
from synth.disk.files import write_atomically
from synth.families import plugins
from synth.identity import require


@dataclass(frozen=True, kw_only=True)
class Notebooks:
    """Execute notebooks: yours.py on any table, or all on the committed tables."""

    sweep: tyro.conf.Positional[str | None] = None
    """A table below --results, a parquet file, a sweep, or a folder of runs or of tables;
    without it, all scripts of analysis/notebooks are executed into .ipynb files there."""
    to: Path | None = None
    """The new notebook to write for SWEEP; SWEEP.ipynb here if not given."""
    results: Path = field(default_factory=results_folder)
    """Folder of the tables."""

    def run(self) -> int:
        """Execute and write, from any directory."""
        try:
            import nbformat

            from analysis.notebooks.display import HERE, execute, execute_all
        except ModuleNotFoundError as missing:
            raise ValueError(
                f"Notebooks need the package {missing.name}. Install the extra in the "
                "folder of synth: pip install --editable '.[notebooks]'."
            ) from None
        from analysis.load_sweep import load_sweep

        if self.sweep is None:
            require(self.to is None, "--to", "given with SWEEP", str(self.to))
            check_writable(HERE)
            for path in execute_all(HERE.parents[1]):
                print(path)
            return 0
        to = self.to or Path(f"{Path(self.sweep).stem}.ipynb")
        require(to.suffix == ".ipynb", "--to", "a path that ends in .ipynb", str(to))
        if to.exists():
            raise ValueError(
                f"{to} exists. Remove it first, or name another with --to."
            )
        load_sweep(self.sweep, self.results)  # what is wrong with it is told at once
        check_writable(to.absolute().parent)
        parameters = {
            "sweep": self.sweep,
            "results": str(self.results),
            "plugins": plugins.given,
        }
        notebook = execute(HERE / "yours.py", Path.cwd(), parameters)
        write_atomically(to, (nbformat.writes(notebook) + "\n").encode())
        print(to)
        return 0
