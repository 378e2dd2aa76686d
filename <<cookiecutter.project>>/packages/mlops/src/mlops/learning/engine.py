"""Where does fitting run? In this process, or through joblib's Dask backend on a cluster."""

import contextlib
import os
from collections.abc import Iterator

import joblib

from mlops.errors import Refusal

ADDRESS = "DASK_SCHEDULER_ADDRESS"
# A scheduler that is there answers at once; one that is not should not cost a night.
CONNECT_SECONDS = 10


@contextlib.contextmanager
def engine(name: str) -> Iterator[None]:
    """Run the joblib work of the block on the engine `local` or `dask`.

    `dask` uses the scheduler at `DASK_SCHEDULER_ADDRESS`, or a cluster of this machine's processes while that is
    unset. Refuses a missing package and a scheduler that does not answer. Scores do not depend on the engine.
    """
    if name == "local":
        with joblib.parallel_config(n_jobs=1):
            yield
        return
    try:
        import distributed
    except ImportError:
        raise Refusal(
            'train.engine = "dask" needs the packages dask and distributed.',
            do="Install the extra `mlops[dask]`: add it to the dependencies in the model's pyproject.toml.",
        ) from None
    address = os.environ.get(ADDRESS)
    with contextlib.ExitStack() as stack:
        if address:
            client = stack.enter_context(_connect(distributed, address))
        else:
            # The dashboard is a web server that nobody asked for; the cluster listens on loopback only.
            cluster = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=max(2, joblib.cpu_count()),
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    host="127.0.0.1",
                )
            )
            client = stack.enter_context(distributed.Client(cluster))
        stack.enter_context(joblib.parallel_config("dask", client=client))
        yield


def _connect(distributed: object, address: str) -> contextlib.AbstractContextManager[object]:
    try:
        return distributed.Client(address, timeout=CONNECT_SECONDS)  # type: ignore[attr-defined, no-any-return]
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise Refusal(
            f"No Dask scheduler answers at {address} ({ADDRESS}): {text}.",
            do=f'Start it, unset {ADDRESS} for a cluster on this machine, or set train.engine = "local".',
        ) from None
