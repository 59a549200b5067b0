"""Finished runs in MLflow."""

from __future__ import annotations

import tempfile
from pathlib import Path

from conceptseg.errors import InputError
from conceptseg.extras import missing
from conceptseg.report.tracked import Tracked

LONGEST = 500
"""Characters of a parameter that all versions take."""


def send(run: Tracked, project: str, uri: str | None) -> str:
    """Log a run in an experiment `project` of a server, folder or data base `uri`; without it where
    the environment's MLFLOW_TRACKING_URI says. Returns the run's id.

    Raises InputError where nothing can be written.
    """
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
        from requests.exceptions import RequestException
    except ImportError:
        raise InputError(missing("'mlflow'", "mlflow")) from None
    try:
        client = mlflow.MlflowClient(uri)
        known = client.get_experiment_by_name(project)
        place = known.experiment_id if known else client.create_experiment(project)
        tags = {"study": run.study, "verdict": run.verdict, "sentence": run.sentence}
        made = client.create_run(place, tags=tags, run_name=run.name).info.run_id
        for key, value in run.parameters.items():
            client.log_param(made, key, value[:LONGEST])
        for key, number in run.numbers.items():
            client.log_metric(made, key, number)
        with tempfile.TemporaryDirectory() as folder:
            for name, data in run.files.items():
                path = Path(folder) / name
                path.write_bytes(data)
                client.log_artifact(made, str(path))
        client.set_terminated(made)
    except ModuleNotFoundError as error:  # what MLflow's slim form lacks
        raise InputError(
            f"MLflow at {uri or mlflow.get_tracking_uri()} needs the package {error.name}; install "
            "the whole of it by pip install mlflow, or give a server's address by --uri"
        ) from None
    except (MlflowException, RequestException, OSError) as error:
        told = str(error).strip().partition("\n")[0]
        raise InputError(
            f"MLflow at {uri or mlflow.get_tracking_uri()} takes no run ({told[:200]}); give its "
            "address by --uri or MLFLOW_TRACKING_URI"
        ) from None
    return str(made)
