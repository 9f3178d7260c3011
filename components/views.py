"""How MLflow's pages open: as those of training runs, with the headline figures as columns.

MLflow 3.17 opens every experiment as one of traces unless the browser or the address says otherwise, and shows no
figure in a list of runs until somebody chooses columns. Both can be said in an address: the kind of page, and a saved
view, which is a tag of the experiment.
"""

import json
import time
from collections.abc import Mapping, Sequence

from components.figures import Headline

# What MLflow before 3.17 goes by, and what its API tells.
KIND = {"mlflow.experimentKind": "custom_model_development"}
TRAINING = "workflowType=machine_learning"
VIEW, VIEW_NAME = "headlines", "Headline figures"
TOTALS = "total"  # sorts after every group of curves of a stage
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"


def view_state(headlines: Sequence[Headline]) -> str:
    """The saved view of the list of lineages: a column for the verdicts, and one for each headline figure."""
    columns = ["tags.`gates`", *(f"metrics.`{headline.metric}`" for headline in headlines)]
    return json.dumps({"selectedColumns": columns, "columnOrder": columns})


def missing_tags(tags: Mapping[str, str], headlines: Sequence[Headline]) -> dict[str, str]:
    """The tags that an experiment lacks, or has of an earlier set of headline figures."""
    missing = {name: value for name, value in KIND.items() if name not in tags}
    state = view_state(headlines)
    try:
        saved = json.loads(tags[VIEW_TAG])["state"]
    except (KeyError, ValueError, TypeError):
        saved = None
    if saved != state and headlines:
        now = int(1000 * time.time())
        missing[VIEW_TAG] = json.dumps({"name": VIEW_NAME, "createdAt": now, "updatedAt": now, "state": state})
    return missing


def lineages_page(address: str, experiment: str) -> str:
    """The list of lineages, on the server at an address."""
    return f"{address}/#/experiments/{experiment}/runs?viewStateShareKey={VIEW}&{TRAINING}"


def run_page(address: str, experiment: str, run_id: str) -> str:
    """The page of a run, on the server at an address; without one, a link from another page of it."""
    return f"{address}{'/' if address else ''}#/experiments/{experiment}/runs/{run_id}?{TRAINING}"


def metric_name(name: str) -> str:
    """What MLflow calls a figure `<stage>/<group>/<quantity>`: those of a whole stage come last on its page of charts.

    MLflow's page opens on the first group of names, which would otherwise be bars of durations and counts.
    """
    _, *group, quantity = name.split("/")
    return name if group and group != ["dropped"] else "/".join((TOTALS, *group, quantity))
