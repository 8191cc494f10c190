"""A sweep on SLURM: its missing runs, in packs, to `slurm.submission`."""

from collections.abc import Sequence
from pathlib import Path

from sweeps import costs
from sweeps.packs import cut
from sweeps.sharing import link_shared
from sweeps.survey import survey
from synth.config import RunConfig


def send(
    configs: Sequence[RunConfig],
    root: Path,
    label: str,
    profile_name: str | None,
    retry: bool = False,
    dry_run: bool = False,
) -> int:
    """Submit what is neither done nor queued, and say which jobs have it.

    Runs that have failed are left out unless `retry`. A dry run submits nothing and
    prints the plan and the text that sbatch would get.

    Raises
    ------
    ValueError
        Without a profile, or when the cluster takes no more.
    """
    from slurm.profile import available, load
    from slurm.queue import QueueUnavailable
    from slurm.submission import SubmissionRefused, submit

    if profile_name is None:
        raise ValueError(
            f"--on slurm needs a --profile: {', '.join(available())}, or a TOML file."
        )
    profile = load(profile_name)
    link_shared(configs, root)
    found = survey(root, configs)
    over = found.ids("done") if retry else found.ids("done", "failed")
    missing = [config for config in configs if config.run_id not in over]
    costs.refuse_impossible(missing)
    packs = [list(pack) for pack in cut(missing, profile.lanes)]
    try:
        sending = submit(packs, root, profile, label, dry_run=dry_run)
    except (QueueUnavailable, SubmissionRefused) as error:
        raise ValueError(str(error)) from error
    print(sending.describe())
    if dry_run:
        print(*sending.scripts, sep="\n")
    for launch in sending.launches:
        print(f"job {launch.job_id}: {launch.folder}")
    return 0
