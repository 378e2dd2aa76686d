"""Adding a model: which names it may have, and its files from `.scaffold/model`, the small inner cookiecutter.

The template's hooks run this file by itself, before a repository exists, so that the first model and every later one
come from the same code. It therefore imports nothing of this package at its top, and Jinja only to render.
"""

import json
import keyword
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops.cli import Outcome

LONGEST = 50

# Folders and packages of this repository, now or later.
OURS = """
mlops serve workspace models model packages package data export plots reports scaffold deploy monitoring docs src
tests test code behaviour performance contract ingest conftest
"""
# What this repository installs: a workspace member of the same name would stand in its place.
INSTALLED = """
adbc_driver_duckdb adlfs aiobotocore aiohappyeyeballs aiohttp aiohttp_retry aioitertools aiosignal alembic altair amqp
annotated_doc annotated_types antlr4 antlr4_python3_runtime anyascii anyio appdirs argcomplete arrow ast_serialize
asyncssh atpublic attr attrs azure azure_core azure_identity azure_storage_blob bcrypt billiard binaryornot blinker
boto3 botocore cachetools celery certifi cffi charset_normalizer click click_didyoumean click_plugins click_repl
cloudpickle colorama configobj contourpy cookiecutter cryptography cycler dask databricks databricks_sdk dateutil
decorator deprecated dictdiffer diskcache distributed distro docker dotenv dpath duckdb duckdb_engine dulwich dvc
dvc_azure dvc_data dvc_gs dvc_http dvc_objects dvc_render dvc_s3 dvc_studio_client dvc_task entrypoints fairlearn
fastapi filelock flask flask_cors flatten_dict flufl flufl_lock fonttools frozenlist fs fsspec funcy gcsfs git gitdb
gitpython google google_api_core google_auth google_auth_oauthlib google_cloud_core google_cloud_storage grandalf
graphene graphql graphql_core graphql_relay greenlet gto gunicorn h11 hatchling httpcore httpx huey hydra hydra_core
hypothesis idna importlib_metadata importlib_resources iniconfig isodate iterative iterative_telemetry itsdangerous
jinja2 jmespath joblib jose jsonschema kiwisolver knack kombu librt llvmlite locket mako markdown markdown_it
markdown_it_py markupsafe matplotlib mdurl mlflow mlflow_skinny mlflow_tracing mpl_toolkits msal msal_extensions
msgpack multidict mypy mypy_extensions mypyc narwhals networkx numba numpy oauthlib omegaconf opentelemetry
opentelemetry_api opentelemetry_proto opentelemetry_sdk opentelemetry_semantic_conventions orjson packaging pandas
pandas_stubs pandera partd pathspec pil pillow pip pkg_resources platformdirs pluggy polars polars_runtime_32
prettytable prompt_toolkit propcache proto protobuf psutil public py py_spy pyarrow pyasn1 pyasn1_modules pycparser
pydantic pydantic_core pydantic_settings pydevd_plugins pydot pygit2 pygments pygtrie pylab pyparsing pytest
python_dateutil python_dotenv python_slugify pytz pywin32 pyyaml requests requests_oauthlib rich rsa ruamel
ruamel_yaml ruff s3fs s3transfer scikit_learn scipy scmrepo semver setuptools shap shortuuid shtab six skinny sklearn
skops slicer slugify smmap sortedcontainers sqlalchemy sqlparse sqltrie starlette tabulate tblib threadpoolctl tlz
tomlkit toolz tornado tqdm typeguard typer types_pyyaml typing_extensions typing_inspect typing_inspection tzdata
tzlocal urllib3 uv uvicorn validate vine voluptuous waitress wcwidth werkzeug wheel wrapt yaml yarl zc zc_lockfile
zict zipp
"""
TAKEN = frozenset((OURS + INSTALLED).split())

# Windows keeps these for devices, whatever the extension.
DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{digit}" for digit in range(10)), *(f"lpt{digit}" for digit in range(10))]
)


def problem(name: str) -> str:
    """Why `name` cannot name a model, as the end of a sentence; empty when it can."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name, re.ASCII):
        return "must be snake_case: lowercase letters, digits and single underscores, a letter first"
    if len(name) > LONGEST:
        return f"is {len(name)} characters long; at most {LONGEST} are possible"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return "is a word of the Python language"
    if name in sys.stdlib_module_names:
        return "is a module of Python's standard library"
    if name in DEVICES:
        return "is a device name on Windows"
    if name in TAKEN:
        return "is the name of a folder or a package that this repository uses"
    return ""


def rendered(scaffold: Path, answers: Mapping[str, str]) -> dict[str, str]:
    """The files of a model, by path below `models/`: what cookiecutter would make of `scaffold` with these answers.

    `answers` are keys of the scaffold's `cookiecutter.json`; what is not given keeps its default.
    """
    from jinja2 import Environment, StrictUndefined

    settings = json.loads((scaffold / "cookiecutter.json").read_text(encoding="utf-8"))
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, **settings["_jinja2_env_vars"])
    # The first entry of a list of choices is its default.
    defaults = {key: value[0] if isinstance(value, list) else value for key, value in settings.items()}
    context = {"cookiecutter": {**defaults, **answers}}
    files = {}
    for folder, _, names in os.walk(scaffold / "{{cookiecutter.name}}"):
        if os.path.basename(folder) == "__pycache__":
            continue
        for name in names:
            path = Path(folder, name)
            place = environment.from_string(path.relative_to(scaffold).as_posix()).render(context)
            files[place] = environment.from_string(path.read_text(encoding="utf-8")).render(context)
    return dict(sorted(files.items()))


def write(models: Path, files: Mapping[str, str]) -> None:
    """Write the files of `rendered` below the folder `models`."""
    for place, text in files.items():
        path = models / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def render(root: Path, **answers: str) -> None:
    """Add `models/<name>` to the repository `root`; a name that cannot be is refused before anything is written."""
    from mlops.errors import Refusal

    name = answers["name"]
    do = "Choose another one, such as a word for what is predicted."
    if why := problem(name):
        raise Refusal(
            f"{ascii(name) if len(name) <= 60 else ascii(name[:57] + '...')} cannot name a model: it {why}.", do=do
        )
    if (root / "models" / name).exists():
        raise Refusal(f"The model {name!r} exists already.", do=do)
    write(root / "models", rendered(root / ".scaffold" / "model", answers))


def new_model(root: Path, name: str, task: str) -> "Outcome":
    """The verb: add a model whose name no installed package has."""
    import importlib.util

    from mlops.cli import Outcome
    from mlops.errors import Refusal

    if not problem(name) and not (root / "models" / name).exists() and importlib.util.find_spec(name) is not None:
        raise Refusal(f"{name!r} cannot name a model: an installed package has that name.", do="Choose another one.")
    render(root, name=name, task=task)
    say = f"models/{name} is ready. Type `make verdict MODEL={name}` to train and judge it."
    return Outcome(say, {"model": name, "task": task})
