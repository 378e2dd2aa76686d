"""How large are the Python libraries in the image of a model, against those that MLflow's own image of it installs?

    python benchmarks/image.py

One fitted pipeline (the scaffold's own model) is exported for both. Ours are what `mlops package` lists for the version
and `deploy/Dockerfile` keeps; the peer's are what the Dockerfile of `mlflow models generate-dockerfile` installs for
it, with requirements that name nothing but what the model needs. Both are installed by uv from the same index for the
same Python, with the byte code that each image has. Compressed means the size of the layer as a registry keeps it: tar
and gzip. Correct means: in that environment alone, the model says of a row what it said when it was trained.
"""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import harness

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ROOT / "<<cookiecutter.project>>"
BIN = Path(sys.executable).parent
PEER = "mlflow models generate-dockerfile"
OURS = {"mlops package, scikit-learn": ("sklearn", 0.4), "mlops package, ONNX Runtime": ("onnx", 0.25)}
COMPILE = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")


def run(*command: str | Path, cwd: Path | None = None, **settings: str) -> str:
    """What a command printed; one that fails ends the benchmark with its words."""
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    quiet = {"DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, "PATH": path, **quiet, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def repository(root: Path) -> None:
    """A generated repository with the model `tumour`, its lock, and nothing trained."""
    from mlops import scaffold

    (root / "models").mkdir(parents=True)
    shutil.copytree(PRODUCT / "packages", root / "packages", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copytree(PRODUCT / ".scaffold", root / ".scaffold")
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(PRODUCT / name, root / name)
    lines = (PRODUCT / "pyproject.toml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("#%") and not line.startswith("dependencies = ")]
    (root / "pyproject.toml").write_text("\n".join(kept) + "\n")
    scaffold.render(root, name="tumour", task="classification", owner="@bench", description="Measures an image.")
    run("git", "init", "--quiet", "--initial-branch=main", cwd=root)
    run("dvc", "init", "--quiet", cwd=root)
    run("uv", "lock", "--quiet", cwd=root)


def trained(root: Path, runtime: str) -> Path:
    """The export of `tumour` for a runtime."""
    toml = root / "models" / "tumour" / "model.toml"
    text, found = re.subn(r'(?m)^runtime = ".*"$', f'runtime = "{runtime}"', toml.read_text())
    toml.write_text(text if found else f'{text}\n[serve]\nruntime = "{runtime}"\n')
    run("mlops", "repro", "--until", "train", "tumour", cwd=root)
    export = root / "models" / "tumour" / "export"
    manifest = json.loads((export / "manifest.json").read_text())
    if manifest["serving"]["runtime"] != runtime:
        raise SystemExit(f"The version does not serve by {runtime}: {manifest['serving']['says']}.")
    return Path(shutil.copytree(export, root.parent / f"export-{runtime}"))


def environment(folder: Path, *requirements: str | Path) -> Path:
    """A new environment with some requirements; its Python."""
    run("uv", "venv", "--quiet", "--relocatable", "--python", sys.executable, folder)
    run("uv", "pip", "install", "--quiet", "--link-mode", "copy", "--python", folder, *requirements)
    return folder / "bin" / "python"


def our_libraries(root: Path, export: Path, folder: Path) -> Path:
    """The libraries of our image, as `deploy/Dockerfile` installs and thins them out; their Python."""
    from mlops.packaging import image

    version = image.described((export / "manifest.json").read_bytes(), model="tumour")
    listed = folder.with_suffix(".txt")
    listed.write_text(run(*image.service(version, prune=True), cwd=root))
    python = environment(folder, "--no-deps", "--no-build", "--require-hashes", "-r", listed)
    for path in sorted(folder.rglob("tests"), reverse=True):
        if path.is_dir():
            shutil.rmtree(path)
    run(sys.executable, *COMPILE, folder)
    return python


def peers_libraries(export: Path, folder: Path, scratch: Path) -> tuple[Path, Path]:
    """The libraries that the peer's image installs for the same pipeline; their Python, and the peer's model."""
    import mlflow
    import skops.io

    name = export / "model.skops"
    types = skops.io.get_untrusted_types(file=name)
    libraries = json.loads((export / "manifest.json").read_text())["libraries"]
    needed = [f"{one}=={libraries[one]}" for one in ("scikit-learn", "skops", "numpy")]
    model = scratch / "mlflow"
    mlflow.sklearn.save_model(
        skops.io.load(name, trusted=types), model, pip_requirements=needed, skops_trusted_types=types
    )
    run("mlflow", "models", "generate-dockerfile", "-m", model, "-d", scratch / "docker")
    text = (scratch / "docker" / "Dockerfile").read_text()
    installed = re.search(r"(?m)^RUN pip install (mlflow\S*)$", text)
    if installed is None or "_install_pyfunc_deps" not in text:
        raise SystemExit(f"MLflow writes another Dockerfile than this benchmark knows:\n{text}")
    python = environment(folder, "--compile-bytecode", installed[1], "-r", model / "requirements.txt")
    return python, model


def layer(folder: Path) -> dict[str, float]:
    """The libraries of an environment in MB: as they lie, and compressed as a registry keeps them."""
    (packages,) = folder.glob("lib/python3*/site-packages")
    plain = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file() and not path.is_symlink())
    packed = folder.with_suffix(".tar.gz")
    with gzip.open(packed, "wb", compresslevel=6) as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
        archive.add(packages, "site-packages")
    return {"installed_mb": round(plain / 1e6, 1), "compressed_mb": round(packed.stat().st_size / 1e6, 1)}


def peer_is_right(python: Path, model: Path, golden: dict[str, Any], classes: list[Any]) -> bool:
    """Whether the peer's environment predicts the golden row as the version did."""
    import numpy as np

    asked, answered = model.with_suffix(".json"), model.with_suffix(".out")
    asked.write_text(json.dumps({"dataframe_records": [golden["row"]]}))
    words = ("models", "predict", "-m", model, "-i", asked, "-o", answered, "-t", "json", "--env-manager", "local")
    run(python, "-m", "mlflow", *words, PATH=os.pathsep.join([str(python.parent), os.environ["PATH"]]))
    found = json.loads(answered.read_text())["predictions"]
    return bool(found == [classes[int(np.argmax(golden["prediction"]))]])


def main() -> int:
    """Measure and conclude; 1 when a goal is missed or an answer is wrong."""
    found = harness.versions("mlflow", "scikit-learn", "skops")
    sizes: dict[str, dict[str, float]] = {}
    correct: dict[str, bool] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        repository(scratch / "project")
        for name, (runtime, _) in OURS.items():
            export = trained(scratch / "project", runtime)
            python = our_libraries(scratch / "project", export, scratch / f"ours-{runtime}")
            said = run(python, "-m", "serve", "check", export, PYTHONPATH=str(PRODUCT / "packages" / "serve" / "src"))
            correct[name] = "says what it said at export" in said
            sizes[name] = layer(scratch / f"ours-{runtime}")
        export = scratch / "export-sklearn"
        python, model = peers_libraries(export, scratch / "peer", scratch)
        manifest = json.loads((export / "manifest.json").read_text())
        correct[PEER] = peer_is_right(python, model, manifest["golden"], manifest["classes"])
        sizes[PEER] = layer(scratch / "peer")
    base = sizes[PEER]["compressed_mb"]
    lines = ["| | installed, MB | compressed, MB | ratio | correct |", "|---|---:|---:|---:|---|"]
    for name, size in sizes.items():
        ratio, right = size["compressed_mb"] / base, "yes" if correct[name] else "NO"
        lines.append(f"| {name} | {size['installed_mb']} | {size['compressed_mb']} | {ratio:.3f} | {right} |")
    print("\n".join(lines))
    goals = {
        f"{name.removeprefix('mlops package, ')} image, size of its libraries, ratio": (
            sizes[name]["compressed_mb"] / base,
            most,
        )
        for name, (_, most) in OURS.items()
    }
    return harness.conclude(
        "image",
        question="How large are the Python libraries in the image of a model, against MLflow's own image of it?",
        facts={"versions": found, "sizes": sizes},
        tables={"Libraries of one model's image": "\n".join(lines)},
        goals=goals,
        right=all(correct.values()),
        notes=["Compressed as a registry keeps them. The peer gets requirements that name only what the model needs."],
    )


if __name__ == "__main__":
    raise SystemExit(main())
