"""Finished runs in Weights & Biases."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from conceptseg.errors import InputError
from conceptseg.extras import missing
from conceptseg.report.tracked import Tracked


def send(run: Tracked, project: str, uri: str | None) -> str:
    """Log a run in `project` of a server `uri`; without it where the environment's WANDB_BASE_URL
    says, and on this machine alone with WANDB_MODE=offline. Returns the run's address, or the
    folder that holds it. Who one is, wandb knows from `wandb login` or WANDB_API_KEY.

    Raises InputError where nothing can be written.
    """
    try:
        import wandb
    except ImportError:
        raise InputError(missing("'wandb'", "wandb")) from None
    given = {"base_url": uri} if uri else {}
    if os.environ.get("WANDB_MODE") != "offline" and not wandb.setup().settings.api_key:
        raise InputError(
            "Weights & Biases does not know who you are; run `wandb login`, or set WANDB_API_KEY, "
            "or WANDB_MODE=offline to keep the run in a folder"
        )
    quiet = wandb.Settings(silent=True, console="off", **given)
    try:
        made = wandb.init(
            project=project,
            name=run.name,
            config=dict(run.parameters),
            tags=[run.study],
            notes=f"{run.verdict}: {run.sentence}" if run.verdict else None,
            settings=quiet,
        )
        with tempfile.TemporaryDirectory() as folder:
            files = wandb.Artifact(f"{run.study}-{made.id}", type="report")
            for name, data in run.files.items():
                path = Path(folder) / name
                path.write_bytes(data)
                files.add_file(str(path))
            made.log_artifact(files)
            made.log({"report": wandb.Html(run.files["report.html"].decode(), inject=False)})
            made.summary.update({**run.numbers, "verdict": run.verdict})
            place = made.url or made.dir
            made.finish()
    except (wandb.Error, OSError) as error:
        told = str(error).strip().partition("\n")[0]
        raise InputError(f"Weights & Biases takes no run ({told[:200]})") from None
    return str(place)
