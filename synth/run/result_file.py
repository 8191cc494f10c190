"""`result.json`: written last, it makes a run done; and whether it is as it was written."""

from pathlib import Path

from synth.disk.files import read_object, unseal
from synth.run.metrics_file import sha256_of

NAME = "result.json"
_OLDER_KEYS = """
    run_id steps tokens vocabulary finished seconds lanes headline weights metrics_sha256
"""
"""Of results that carry no digest of their own."""


def verify(path: Path) -> list[str]:
    """What in the folder of a done run is not what its training wrote, file by file.

    Empty when all is as written, and for runs that are not done. Reads `result.json`,
    `metrics.jsonl` and `items.jsonl` once; checkpoints are compared when they are
    loaded. A result of older code, without digests of its own, passes as it is.
    """
    try:
        stored = read_object(path / NAME)
        result = unseal(stored, path / NAME, _OLDER_KEYS.split())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        return [f"{error} Restore it, or remove it to train the run again."]
    problems = []
    if result.get("run_id", path.name) != path.name:
        problems.append(
            f"{path / NAME} is the result of {result['run_id']}, another run. "
            "Give the folder that name, or restore its own file."
        )
    for name in ("metrics", "items"):
        file, expected = path / f"{name}.jsonl", result.get(f"{name}_sha256")
        if expected is None:
            continue
        try:
            if sha256_of(file) == expected:
                continue
            problem = "was changed or cut" if file.exists() else "is missing"
        except (OSError, ValueError) as error:
            problem = f"cannot be read ({error})"
        problems.append(
            f"{file} {problem}: it is not what training wrote. Restore the file, or move "
            "the run's folder away to train it afresh."
        )
    return problems
