"""Does the plan name exactly the models that a change can affect, for the right reasons?"""

import json
import random
from collections.abc import Callable
from typing import Any

import planning_oracle
import pytest
import yaml
from trees import Link, plan

REPOSITORIES, DIFFS = 100, 100

Repository = dict[str, bytes]

NAMES = ["alpha", "beta", "gamma_2", "delta", "eps", "zeta", "eta", "theta"]
PACKAGES = {"features": "My.Features", "core": "core_lib", "extra-bits": "extra-bits"}
DATA = ["data/a.csv", "data/b.csv", "data/raw/one.csv", "data/raw/two.csv", "data/raw/deep/x.csv", "shared/p.yaml"]


def dumped(value: Any, chance: random.Random) -> bytes:
    """A value as YAML, in one of the styles that people use."""
    style = chance.choice([None, False, None, False, True])
    return yaml.safe_dump(value, default_flow_style=style, sort_keys=False, width=4096, allow_unicode=True).encode()


def some_path(chance: random.Random, name: str) -> str:
    """A place that a stage of the model `name` may read."""
    other = chance.choice(NAMES)
    return chance.choice(
        [
            "contract.py", "src", "CARD.md", f"../../{chance.choice(DATA)}", f"../../{chance.choice(DATA)}",
            "../../data", "../../data/raw",
            "../../data/made", "../../data/made/two.parquet", "../../data/out/one.parquet",
            f"../../data/out/{other}", f"../../data/out/{other}", f"../{other}/export",
            f"../{other}/metrics.json", f"../{other}/src/x.py", f"../{other}", "s3://bucket/x", "/outside",
            "../../../outside", "../../packages/features/src", "../../data/big.bin", "../../docs/page.md",
        ]
    )  # fmt: skip


def pipeline(chance: random.Random, name: str) -> bytes:
    """A `dvc.yaml` of the model `name`."""
    stages: dict[str, Any] = {}
    content: dict[str, Any] = {}
    if chance.random() < 0.3:
        content["vars"] = [{"where": chance.choice(["raw", "made"]), "files": ["one", "two"]}]
        if chance.random() < 0.6:
            content["vars"].append(chance.choice(["../../shared/p.yaml", "../../shared/p.yaml:a", "own.yaml"]))
    for number in range(chance.randint(1, 2)):
        body: dict[str, Any] = {"cmd": "mlops x"}
        deps = [some_path(chance, name) for _ in range(chance.choice([0, 0, 1, 1, 2]))]
        if "vars" in content and chance.random() < 0.7:
            deps.append(chance.choice(["../../data/${where}/one.csv", "../../data/${where}", "../../data/${files[1]}"]))
        if "../../shared/p.yaml" in content.get("vars", []) or chance.random() < 0.01:
            deps.append(chance.choice(["../../data/${a}.csv", "../${b.c}/export", "../../data/${b.c}.csv"]))
        if chance.random() < 0.2:
            body["wdir"] = chance.choice(["..", "../../data", "sub", "../.."])
        if chance.random() < 0.3:
            body["params"] = [chance.choice(["key", {"../../shared/p.yaml": ["a"]}, {"own.yaml": ["x"]}])]
        outs: list[Any] = [chance.choice([f"export{number or ''}", {"metrics.json": {"cache": False}}])]
        if chance.random() < 0.2:
            outs.append(f"../../data/out/{chance.choice(['one', 'two'])}.parquet")
        if "../../shared/p.yaml" in content.get("vars", []):
            outs.append("../../data/out/${b.c}")
        body |= {"deps": deps, chance.choice(["outs", "metrics", "plots"]): outs}
        kind = chance.random()
        if kind < 0.15:
            values = chance.choice([["raw/one.csv", "b.csv"], {"x": {"p": "a.csv"}, "y": {"p": "raw"}}])
            deps.append("../../data/" + ("${item}" if isinstance(values, list) else "${item.p}"))
            stages[f"s{number}"] = {"foreach": values, "do": body}
        elif kind < 0.3:
            deps.append("../../data/${item.x}/${item.y}.csv")
            stages[f"s{number}"] = {"matrix": {"x": ["raw", "other"], "y": ["one", "three"]}, **body}
        else:
            stages[f"s{number}"] = body
    if chance.random() < 0.01:
        return b"stages:\n  a: {deps: [${x}\n broken"
    return dumped({**content, "stages": stages}, chance)


def project(chance: random.Random, name: str, kind: str) -> bytes:
    """A `pyproject.toml` in the spellings that people use."""
    asked = [
        chance.choice(["my-features", "My_Features[fast]>=1", "core.lib", "extra_bits ; python_version > '3'", "t1"])
        for _ in range(chance.choice([0, 0, 1, 2] if kind == "model" else [0, 0, 1]))
    ]
    lines = [f'[project]\nname = "{name}"\nversion = "1"\ndependencies = {json.dumps(asked)}\n']
    if chance.random() < 0.2:
        lines.append('[project.optional-dependencies]\nfast = ["core-lib"]\nslow = ["extra-bits"]\n')
    if chance.random() < 0.1:
        lines.append('[dependency-groups]\ndev = ["Extra.Bits"]\n')
    return "".join(lines).encode()


def model(chance: random.Random, name: str) -> Repository:
    """The files of one model."""
    home = f"models/{name}"
    return {
        f"{home}/model.toml": b"x",
        f"{home}/contract.py": b"x",
        f"{home}/CARD.md": b"x",
        f"{home}/src/x.py": b"x",
        f"{home}/src/prompt.md": b"x",
        f"{home}/own.yaml": b"x: 1\n",
        f"{home}/pyproject.toml": project(chance, name, "model"),
        f"{home}/dvc.yaml": pipeline(chance, name),
    }


def lock(chance: random.Random, before: bytes | None = None) -> bytes:
    """A `uv.lock`; given another one, one that differs in one place."""
    if before is not None:
        return before.replace(*chance.choice(LOCK_CHANGES))
    lines = ['version = 1\nrequires-python = ">=3.11"\n']
    for name in ["t1", "t2", "t3", "t4"]:
        needs = [f'{{ name = "{other}" }}' for other in ["t2", "t3"] if other > name and chance.random() < 0.4]
        lines.append(
            f'[[package]]\nname = "{name}"\nversion = "1.0"\nsource = {{ registry = "x" }}\n'
            f"dependencies = [{', '.join(needs)}]\n"
            f'wheels = [{{ url = "u-{name}", hash = "sha256:{name}" }}]\n'
        )
        if chance.random() < 0.4:
            lines.append('[package.optional-dependencies]\nx = [{ name = "t4", version = "1.0" }]\n')
    lines.append('[[package]]\nname = "t4"\nversion = "2.0"\nsource = { registry = "x" }\n')
    for name in NAMES[: chance.randint(6, 8)]:
        needs = [f'{{ name = "{other}" }}' for other in ["t1", "t2", "t3"] if chance.random() < 0.25]
        needs += ['{ name = "t1", extra = ["x"] }'] if chance.random() < 0.3 else []
        needs += [f'{{ name = "t4", version = "{chance.choice(["1.0", "2.0"])}" }}'] if chance.random() < 0.4 else []
        lines.append(
            f'[[package]]\nname = "{name.replace("_", "-")}"\nversion = "1"\n'
            f'source = {{ editable = "models/{name}" }}\ndependencies = [{", ".join(needs)}]\n'
        )
    return "".join(lines).encode()


LOCK_CHANGES = [
    (b'name = "t1"\nversion = "1.0"', b'name = "t1"\nversion = "1.1"'),
    (b"sha256:t3", b"sha256:other"),
    (b'url = "u-t2"', b'url = "mirror"'),
    (b'{ name = "t3" }', b'{ name = "t3", marker = "x" }'),
    (b'version = "2.0"', b'version = "2.1"'),
    (b">=3.11", b">=3.12"),
    (b'x = [{ name = "t4", version = "1.0" }]', b"x = []"),
    (b"sha256:t4", b"sha256:another"),
]


def shared(chance: random.Random) -> Repository:
    """What stands beside the models."""
    files = dict.fromkeys([*DATA, "docs/page.md", "README.md", ".dvcignore", "data/dvc.lock", ".hidden/dvc.yaml"], b"")
    files[".dvcignore"] = b"# comment\n.hidden\n*.pyc\n"
    files[".hidden/dvc.yaml"] = b"stages:\n  a:\n    cmd: ${x}\n    deps: [{{ broken }}]\n"
    files["shared/p.yaml"] = dumped({"a": chance.choice(["a", "b"]), "b": {"c": chance.choice(NAMES)}}, chance)
    made = chance.choice([["made"], ["made/one.parquet", "made/two.parquet"]])
    stages = {"one": {"cmd": "x", "deps": [chance.choice(["raw", "a.csv", "../models/alpha/export"])], "outs": made}}
    files["data/dvc.yaml"] = dumped({"stages": stages}, chance)
    files["data/big.bin.dvc"] = dumped({"outs": [{"path": "big.bin", "md5": "x"}], "deps": [{"path": "b.csv"}]}, chance)
    if chance.random() < 0.5:
        files["data/params.yaml"] = b"x: 1\n"
    for folder, name in PACKAGES.items():
        files[f"packages/{folder}/pyproject.toml"] = project(chance, name, "package")
        files |= dict.fromkeys([f"packages/{folder}/{one}" for one in ("src/m.py", "README.md", "tests/t.py")], b"")
    return files


def repository(chance: random.Random) -> Repository:
    files = shared(chance) | {"uv.lock": lock(chance)}
    for name in NAMES:
        files |= model(chance, name)
    return files


def edit(files: Repository, chance: random.Random) -> None:
    path = chance.choice(sorted(files.keys() - {"uv.lock"}))
    if not path.endswith((".yaml", ".dvc", ".toml")):
        files[path] += b"."


def remove(files: Repository, chance: random.Random) -> None:
    del files[chance.choice(sorted(files.keys() - {"uv.lock"}))]


def rename(files: Repository, chance: random.Random) -> None:
    path = chance.choice(sorted(files.keys() - {"uv.lock"}))
    if not path.endswith("pyproject.toml"):
        files[path + chance.choice(["x", "/x"])] = files.pop(path)


def add(files: Repository, chance: random.Random) -> None:
    folder = chance.choice(sorted({path.rpartition("/")[0] for path in files}))
    name = chance.choice(["new.csv", "params.yaml", ".dvcignore", ".gitattributes", "NOTES.md", "one.csv"])
    files.setdefault(f"{folder}/{name}".lstrip("/"), b"")


def rewrite(files: Repository, chance: random.Random) -> None:
    name = chance.choice(NAMES)
    files[f"models/{name}/dvc.yaml"] = pipeline(chance, name)


def drop(files: Repository, chance: random.Random) -> None:
    home = f"models/{chance.choice(NAMES)}/"
    for path in [path for path in files if path.startswith(home)]:
        del files[path]


def template(files: Repository, chance: random.Random) -> None:
    files["shared/p.yaml"] = dumped({"a": chance.choice(["a", "b"]), "b": {"c": chance.choice(NAMES)}}, chance)


def depend(files: Repository, chance: random.Random) -> None:
    folder, name = chance.choice(sorted(PACKAGES.items()))
    files[f"packages/{folder}/pyproject.toml"] = project(chance, chance.choice([name, name, "renamed"]), "package")


def relock(files: Repository, chance: random.Random) -> None:
    files["uv.lock"] = lock(chance, files["uv.lock"])


def move_package(files: Repository, chance: random.Random) -> None:
    folder = chance.choice(sorted(PACKAGES))
    for path in [path for path in files if path.startswith(f"packages/{folder}/")]:
        files[path.replace("packages/", "libraries/")] = files.pop(path)


CHANGES: list[Callable[[Repository, random.Random], None]] = [
    edit, edit, edit, remove, rename, add, rewrite, drop, template, depend, relock, move_package,
]  # fmt: skip


@pytest.mark.parametrize("seed", range(REPOSITORIES))
def test_the_plan_is_what_evaluating_everything_gives(seed: int) -> None:
    """Over random repositories and diffs: the same set as the oracle's, no model more and no model less."""
    chance = random.Random(seed)
    base = repository(chance)
    for _ in range(DIFFS):
        head = dict(base)
        for _ in range(chance.choice([1, 1, 1, 2, 4])):
            chance.choice(CHANGES)(head, chance)
        assert set(plan(base, head)) == planning_oracle.plan(base, head)


def two(**files: bytes) -> Repository:
    """Two models that have nothing to do with each other, and more files (`__` stands for `/`, `DOT` for `.`)."""
    base = {f"models/{name}/{file}": b"x" for name in ("alpha", "beta") for file in ("model.toml", "contract.py")}
    return base | {path.replace("__", "/").replace("DOT", "."): content for path, content in files.items()}


def reasons(base: dict[str, Any], **changes: bytes) -> dict[str, tuple[str, ...]]:
    """Why each model is planned when these files change."""
    head = base | {path.replace("__", "/").replace("DOT", "."): content for path, content in changes.items()}
    return {name: one.reasons for name, one in plan(base, head).items()}


READS = b"stages:\n  a: {cmd: x, deps: [%b], outs: [export]}\n"


def test_a_reason_names_what_changed_and_is_bounded() -> None:
    base = two(models__alpha__dvcDOTyaml=READS % b"../../data", models__beta__dvcDOTyaml=READS % b"../alpha/export")
    head = {**base, **{f"data/{number}.csv": b"" for number in range(1000)}, "models/alpha/src/" + "x" * 500: b""}
    assert plan(base, head)["alpha"].reasons == (
        "own files changed: src/xxxxxxxxxxxxxxxxxxxxxxxxx…xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "data/0.csv, data/1.csv, data/10.csv and 997 more changed",
    )
    assert plan(base, head)["beta"].reasons == ("models/alpha/export is made by models/alpha, which is affected",)


def test_a_page_counts_only_where_a_stage_reads_it() -> None:
    base = two(models__alpha__dvcDOTyaml=READS % b"prompts")
    assert reasons(base, models__alpha__CARDDOTmd=b"new") == {}
    assert set(reasons(base, models__alpha__prompts__aDOTmd=b"new")) == {"alpha"}


def test_what_a_model_made_before_counts_too() -> None:
    """An output that a change takes away leaves its reader without it."""
    base = two(
        models__alpha__dvcDOTyaml=b"stages:\n  a: {cmd: x, outs: [../../data/out]}\n",
        models__beta__dvcDOTyaml=READS % b"../../data/out",
    )
    assert set(reasons(base, models__alpha__dvcDOTyaml=b"stages: {}\n")) == {"alpha", "beta"}
    gone = {path: content for path, content in base.items() if not path.startswith("models/alpha/")}
    assert set(plan(base, gone)) == {"beta"}


def test_what_a_template_made_before_counts_too() -> None:
    """The file that fills it changed, and none of the model's own."""
    base = two(
        pDOTyaml=b"where: one\n",
        models__alpha__dvcDOTyaml=b"vars: [../../p.yaml]\nstages:\n  a: {cmd: x, outs: ['../../data/${where}']}\n",
        models__beta__dvcDOTyaml=READS % b"../../data/one",
        models__gamma__dvcDOTyaml=READS % b"../../data/two",
        models__gamma__modelDOTtoml=b"x",
    )
    assert set(reasons(base, pDOTyaml=b"where: two\n")) == {"alpha", "beta", "gamma"}
    assert set(reasons(base, pDOTyaml=b"where: three\n")) == {"alpha", "beta"}


UNCLEAR = b"stages: &a\n  a: {cmd: x, deps: [%b]}\n"


def test_a_pipeline_that_cannot_be_read_is_planned_with_the_reason() -> None:
    """Whatever changes outside of other models; the sentence says where reading ended."""
    base = two(models__alpha__dvcDOTyaml=UNCLEAR % b"../../data/x")
    expected = (
        "models/alpha/dvc.yaml cannot be read statically (line 1 has an anchor, an alias or a tag), and %s changed"
    )
    assert reasons(base, data__other=b"")["alpha"] == (expected % "data/other",)
    assert set(reasons(base, models__beta__contractDOTpy=b"new")) == {"beta"}


def test_a_pipeline_that_cannot_be_read_and_names_a_model_follows_it() -> None:
    """Also where that model is affected only through a third one."""
    base = two(
        models__alpha__dvcDOTyaml=UNCLEAR % b"../beta/export",
        models__beta__dvcDOTyaml=READS % b"../gamma/export",
        models__gamma__dvcDOTyaml=READS % b"contract.py",
        models__gamma__modelDOTtoml=b"x",
    )
    assert set(reasons(base, models__gamma__contractDOTpy=b"new")) == {"alpha", "beta", "gamma"}


def test_a_pipeline_that_cannot_be_read_and_stays_in_its_folder_is_left_alone() -> None:
    """Without `..` and templates it cannot read anything else."""
    base = two(models__alpha__dvcDOTyaml=UNCLEAR % b"data/x", models__beta__dvcDOTyaml=READS % b"../alpha/any")
    assert reasons(base, data__other=b"") == {}
    assert set(reasons(base, models__alpha__contractDOTpy=b"new")) == {"alpha", "beta"}


def test_a_package_that_does_not_tell_its_dependencies_may_have_all() -> None:
    base = two(
        models__alpha__pyprojectDOTtoml=b'[project]\nname = "alpha"\ndynamic = ["dependencies"]\n',
        models__beta__pyprojectDOTtoml=b'[project]\nname = "beta"\ndependencies = ["other"]\n',
        packages__core__pyprojectDOTtoml=b'[project]\nname = "core"\n',
        packages__core__xDOTpy=b"",
    )
    assert reasons(base, packages__core__xDOTpy=b"new") == {"alpha": ("packages/core changed",)}
    broken = {**base, "models/alpha/pyproject.toml": b"[project"}
    assert set(reasons(broken, packages__core__xDOTpy=b"new")) == {"alpha"}


def test_a_source_that_is_a_folder_or_an_index_is_followed() -> None:
    base = two(
        models__alpha__pyprojectDOTtoml=(
            b'[project]\nname = "alpha"\ndependencies = ["x"]\n[tool.uv.sources]\nx = { path = "../../vendor/x" }\n'
        ),
        models__beta__pyprojectDOTtoml=(
            b'[project]\nname = "beta"\ndependencies = ["core"]\n[tool.uv.sources]\ncore = { index = "other" }\n'
        ),
        packages__core__pyprojectDOTtoml=b'[project]\nname = "core"\n',
    )
    assert reasons(base, vendor__x__aDOTpy=b"new") == {"alpha": ("vendor/x changed",)}
    assert reasons(base, packages__core__aDOTpy=b"new") == {}


LOCK = b"""\
version = 1
requires-python = ">=3.11"
[[package]]
name = "alpha"
version = "0.1"
source = { editable = "models/alpha" }
dependencies = [{ name = "scikit-learn" }]
[[package]]
name = "beta"
version = "0.1"
source = { editable = "models/beta" }
[package.dev-dependencies]
dev = [{ name = "pytest" }]
[[package]]
name = "scikit-learn"
version = "1.8"
source = { registry = "x" }
wheels = [{ url = "here", hash = "sha256:1", size = 1, upload-time = "2026-01-01T00:00:00Z" }]
[[package]]
name = "pytest"
version = "8"
source = { registry = "x" }
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b'"1.8"', b'"1.9"', {"alpha": "its dependencies in uv.lock changed: scikit-learn 1.8 → 1.9"}),
        (
            b"sha256:1",
            b"sha256:2",
            {"alpha": "its dependencies in uv.lock changed: scikit-learn (other files or conditions)"},
        ),
        (b'version = "8"', b'version = "9"', {"beta": "its dependencies in uv.lock changed: pytest 8 → 9"}),
        (b'"here", hash', b'"mirror", hash', {}),
        (b"size = 1", b"size = 2", {}),
        (b'{ name = "scikit-learn" }', b"", {"alpha": "its dependencies in uv.lock changed: what alpha asks for"}),
        (
            b">=3.11",
            b">=3.12",
            dict.fromkeys(("alpha", "beta"), "its dependencies in uv.lock changed: Python >=3.11 → >=3.12"),
        ),
        (
            b"version = 1\n",
            b"version = 2\n",
            dict.fromkeys(
                ("alpha", "beta"),
                "its dependencies in uv.lock changed: it cannot be read: its format is '2', and only 1 is known",
            ),
        ),
    ],
)
def test_the_lock_counts_for_whom_it_resolves_something_else(old: bytes, new: bytes, expected: dict[str, str]) -> None:
    projects = {
        f"models__{name}__pyprojectDOTtoml": f'[project]\nname = "{name}"\n'.encode() for name in ("alpha", "beta")
    }
    base = two(uvDOTlock=LOCK, **projects)
    assert old in LOCK
    found = reasons(base, uvDOTlock=LOCK.replace(old, new))
    assert {name: said for name, (said,) in found.items()} == expected


def test_a_dependency_that_went_away_is_named() -> None:
    base = two(uvDOTlock=LOCK, models__alpha__pyprojectDOTtoml=b'[project]\nname = "alpha"\n')
    head, _, rest = LOCK.replace(b'{ name = "scikit-learn" }', b"").partition(b'[[package]]\nname = "scikit-learn"')
    found = reasons(base, uvDOTlock=head + rest[rest.index(b"[[package]]") :])
    expected = "its dependencies in uv.lock changed: what alpha asks for, scikit-learn removed"
    assert found["alpha"] == (expected,)


def test_a_model_that_is_not_locked_is_planned_with_every_lock() -> None:
    base = two(uvDOTlock=b"version = 1\n", models__alpha__pyprojectDOTtoml=b'[project]\nname = "alpha"\n')
    assert set(reasons(base, uvDOTlock=b"version = 1\n\n")) == {"alpha", "beta"}


def test_a_link_is_followed_to_where_it_leads() -> None:
    base: dict[str, Any] = {**two(models__alpha__dvcDOTyaml=READS % b"../../data"), "data/more": Link("../far")}
    assert set(reasons(base, far__x=b"")) == {"alpha"}
    assert reasons(base, farther__x=b"") == {}
