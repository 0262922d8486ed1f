"""The models of an output: one model's photos may be searched while another's are still being encoded.

```
vectors/<fingerprint>/model.json     what the model is; written by whoever encodes with it
```
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from batch.ledger import expected_state, load_ledgers
from batch.plan import Plan, plan_key, read_plans
from imagesearch.clip.model import MODEL_FILE, ModelInfo
from imagesearch.errors import NotFound, StorageError
from imagesearch.parquet import connect
from imagesearch.storage import Storage

DELETERS = 16


@dataclass(frozen=True, slots=True)
class OutputModel:
    """A model that an output has runs of, oldest first."""

    info: ModelInfo
    plans: list[Plan]


def write_model(output: Storage, info: ModelInfo) -> None:
    """Note what the model is that the output's vectors are of."""
    output.write(_model_key(info.fingerprint), info.model_dump_json(indent=2).encode())


def read_model(output: Storage, fingerprint: str) -> ModelInfo:
    """What the model with this fingerprint is.

    Raises:
        NotFound: nothing was encoded with it.
        StorageError: its model.json is damaged.
    """
    key = _model_key(fingerprint)
    try:
        return ModelInfo.model_validate_json(output.read(key))
    except NotFound:
        raise NotFound(f"nothing in {output.uri} is encoded with a model {fingerprint}") from None
    except ValidationError as error:
        raise StorageError(f"{key} in {output.uri} is no {MODEL_FILE}: {error}") from error


def read_models(output: Storage) -> list[OutputModel]:
    """The models that something was encoded with, by their first run."""
    plans: dict[str, list[Plan]] = {}
    for plan in read_plans(output):
        plans.setdefault(plan.fingerprint, []).append(plan)
    models = []
    for fingerprint, of_model in plans.items():
        with suppress(NotFound):  # it is only planned
            models.append(OutputModel(read_model(output, fingerprint), of_model))
    return models


def count_encoded(output: Storage, model: OutputModel) -> int:
    """How many photos should be in the model's index, as its ledgers say.

    Raises:
        StorageError: they can't be read.
    """
    with connect() as con:
        load_ledgers(con, output, [plan.run for plan in model.plans])
        expected_state(con)
        ((count,),) = con.execute("SELECT count(*) FROM expected WHERE status = 'indexed'").fetchall()
        return int(count)


def remove_model(output: Storage, model: OutputModel) -> None:
    """Remove the model's parts and runs; when interrupted, the model is still listed, and removing it goes on.

    Raises:
        StorageError: something can't be removed.
    """
    for plan in model.plans:
        _delete(output, (item.key for item in output.list(f"runs/{plan.run}/") if item.key != plan_key(plan.run)))
    known = _model_key(model.info.fingerprint)
    vectors = f"vectors/{model.info.fingerprint}/"
    _delete(output, (item.key for item in output.list(vectors) if item.key != known))
    _delete(output, (plan_key(plan.run) for plan in model.plans))
    output.delete(known)


def _delete(output: Storage, keys: Iterable[str]) -> None:
    with ThreadPoolExecutor(DELETERS) as pool:
        for _ in pool.map(output.delete, list(keys)):
            pass


def _model_key(fingerprint: str) -> str:
    return f"vectors/{fingerprint}/{MODEL_FILE}"
