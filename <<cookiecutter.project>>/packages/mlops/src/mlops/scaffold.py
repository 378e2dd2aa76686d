"""Adding a model from `.scaffold/model`, the small cookiecutter that made the first one too."""

import sys
from pathlib import Path

from cookiecutter.generate import generate_context, generate_files

from mlops.cli import Outcome
from mlops.errors import Refusal


def new_model(root: Path, name: str, task: str) -> Outcome:
    """Add `models/<name>`; refuse a name that exists or that Python could not import."""
    render(root, name=name, task=task)
    return Outcome(f"models/{name} is ready; `make verdict MODEL={name}` trains and judges it.", {"model": name})


def render(root: Path, **answers: str) -> None:
    """Render the scaffold into `models/`."""
    name = answers["name"]
    if not name.isidentifier() or name != name.lower() or name in sys.stdlib_module_names:
        raise Refusal(f"{name!r} cannot name a model.", do="Use snake_case letters and digits that no Python module has.")
    if (root / "models" / name).exists():
        raise Refusal(f"The model {name!r} exists already.", do="Choose another name.")
    template = root / ".scaffold" / "model"
    context = generate_context(template / "cookiecutter.json", extra_context=answers)
    # cookiecutter leaves a choice as a list whose first entry is chosen, for a prompt that is not shown here.
    chosen = context["cookiecutter"]
    chosen.update({key: value[0] for key, value in chosen.items() if isinstance(value, list)})
    generate_files(template, context, output_dir=root / "models")
