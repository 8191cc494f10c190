"""A sweep on SLURM: its missing runs, in packs, to `slurm.submission`."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps import costs
from sweeps.packs import cut
from sweeps.sharing import link_shared
from sweeps.survey import survey
from synth.config import RunConfig
from synth.identity import require

if TYPE_CHECKING:
    from slurm.submission import Sending


def send(
    configs: Sequence[RunConfig],
    root: Path,
    label: str,
    profile_name: str | None,
    *,
    retry: bool = False,
    dry_run: bool = False,
    lanes: int | None = None,
    accept_code_change: bool = False,
    as_json: bool = False,
) -> int:
    """Submit what is neither done nor queued, and say which jobs have it.

    Runs that have failed are left out unless `retry`. A dry run submits nothing and
    prints the plan and the text that sbatch would get. `lanes` replaces the profile's.

    Raises
    ------
    ValueError
        Without a profile, when the cluster takes no more, or when unfinished runs were
        begun by other code, unless that is accepted.
    """
    from slurm.clients import QueueUnavailable
    from slurm.profile import available, load
    from slurm.submission import SubmissionRefused, submit

    if profile_name is None:
        raise ValueError(
            f"--on slurm needs a --profile: {', '.join(available())}, or a TOML file."
        )
    profile = load(profile_name)
    require(lanes is None or lanes >= 1, "--lanes", "at least 1", lanes)
    if not dry_run:
        link_shared(configs, root)
    found = survey(root, configs)
    over = found.ids("done") if retry else found.ids("done", "failed")
    missing = [config for config in configs if config.run_id not in over]
    costs.refuse_impossible(missing)
    packs = [list(pack) for pack in cut(missing, lanes or profile.lanes)]

    execution = profile.build_execution()
    if accept_code_change:
        execution = dataclasses.replace(execution, accept_code_change=True)
    try:
        sending = submit(
            packs, root, profile, label, execution=execution, dry_run=dry_run
        )
    except (QueueUnavailable, SubmissionRefused) as error:
        raise ValueError(str(error)) from error
    failed = 0 if retry else found.counts["failed"]
    if as_json:
        print(json.dumps(_as_dict(sending) | {"failed": failed}))
        return 0
    print(sending.describe())
    if failed:
        print(f"{failed} runs have failed before: `retry` sends them again")
    if dry_run:
        print(*sending.scripts, sep="\n")
    for launch in sending.launches:
        print(f"job {launch.job_id}: {launch.folder}")
    return 0


def _as_dict(sending: "Sending") -> dict[str, Any]:
    """A submission for programs."""
    return {
        "jobs": [
            {"job": launch.job_id, "folder": str(launch.folder), "packs": launch.packs}
            for launch in sending.launches
        ],
        "planned": [
            [[config.run_id for config in pack] for pack in array.packs]
            for array in sending.arrays
        ],
        "scripts": sending.scripts,
        "done": sending.done,
        "queued": sending.queued,
        "held_back": sending.held_back,
        "news": sending.news,
    }
