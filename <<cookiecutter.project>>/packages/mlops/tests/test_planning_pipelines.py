"""Does the plan find the same places in a pipeline as DVC does, and say so where it cannot?"""

import random
import subprocess
from pathlib import Path

import pytest
from test_planning_affected import NAMES, repository

from mlops.planning import pipelines
from mlops.planning.pipelines import Pipeline

Files = dict[str, str]


def read(text: str, path: str = "models/a/dvc.yaml", **files: str) -> Pipeline:
    """What a pipeline says, with other files of the repository by their path."""
    there = {name.replace("__", "/").replace("DOT", "."): content.encode() for name, content in files.items()}
    return pipelines.read(path, text.encode(), there.get)


@pytest.mark.parametrize("seed", range(6))
def test_reads_and_writes_are_those_that_dvc_finds(seed: int, tmp_path: Path) -> None:
    """DVC itself loads the random pipelines of the plan's tests; what it cannot load is unclear here."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.index import Index

    files = {
        # DVC needs another package to load a stage that reads from a bucket.
        path: content.replace(b"s3://bucket/x", b"/bucket/x")
        for path, content in repository(random.Random(seed)).items()
        if not path.endswith("dvc.lock")
    }
    for path, content in files.items():
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["dvc", "init", "-q"], cwd=tmp_path, check=True)
    compared = 0
    with Repo(str(tmp_path)) as repo:
        for path in [*(f"models/{name}/dvc.yaml" for name in NAMES), "data/dvc.yaml"]:
            mine = pipelines.read(path, files[path], files.get)
            try:
                stages = Index.from_file(repo, str(tmp_path / path)).stages
            except DvcException:
                assert mine.unclear
                continue
            if mine.unclear:
                continue

            def inside(places: set[str]) -> set[str]:
                found = {Path(place) for place in places if place.startswith("/")}
                return {place.relative_to(tmp_path).as_posix() for place in found if place.is_relative_to(tmp_path)}

            reads = inside({dep.fs_path for stage in stages for dep in stage.deps})
            assert {"" if place == "." else place for place in reads} <= mine.reads
            assert mine.reads - mine.inputs <= {"" if place == "." else place for place in reads}
            assert inside({out.fs_path for stage in stages for out in stage.outs}) == mine.writes
            compared += 1
    assert compared >= 5


def test_templates_take_values_from_vars_and_files() -> None:
    text = """\
vars: [{a: {b: [x, {c: 2.5}]}, yes_: true}, ../../p.toml, q.json:k]
stages:
  s:
    cmd: x
    wdir: ${folder}
    deps: ['${a.b[0]}/${a.b[1].c}', '${k}']
    outs: ['\\${literal}', {'${a.b[0]}.csv': {cache: false}}]
"""
    found = read(text, pDOTtoml='folder = "../../data"', models__a__qDOTjson='{"k": 7, "other": 1}')
    # A number is no path, for DVC neither.
    assert "'7' where a path is expected" in found.unclear
    text = text.replace("'${k}'", "'is/${yes_}/${k}'")
    found = read(text, pDOTtoml='folder = "../../data"', models__a__qDOTjson='{"k": 7, "other": 1}')
    assert found.unclear == ""
    assert found.reads == {"data/x/2.5", "data/is/true/7", "p.toml", "models/a/q.json"}
    assert found.writes == {"data/${literal}", "data/x.csv"}
    assert found.inputs == {"p.toml", "models/a/q.json", "models/a/params.yaml"}


def test_the_params_file_beside_it_is_read_without_being_named() -> None:
    text = "stages:\n  s:\n    cmd: x\n    deps: ['../../${where}/x']\n"
    assert read(text, models__a__paramsDOTyaml="where: data\n").reads == {"data/x", "models/a/params.yaml"}


def test_foreach_and_matrix_stand_for_many_stages() -> None:
    text = """\
stages:
  a:
    foreach: {one: {p: x}, two: {p: y}}
    do: {cmd: c, deps: ['../${key}/${item.p}']}
  b:
    foreach: [1, 2]
    do: {cmd: c, outs: ['o${item}']}
  c:
    matrix: {m: [u, v], n: [{k: w}]}
    cmd: c
    deps: ['../${item.m}/${item.n.k}/${key}']
"""
    found = read(text)
    assert found.reads == {"models/one/x", "models/two/y", "models/u/w/u-n0", "models/v/w/v-n0"}
    assert found.writes == {"models/a/o1", "models/a/o2"}


def test_a_dvc_file_has_one_output_and_what_is_imported_is_no_file_here() -> None:
    imported = "- {path: x, repo: {url: https://example.com}}\n"
    text = f"deps:\n- path: raw.csv\n{imported}outs:\n- md5: abc\n  path: big\nwdir: ..\n"
    found = read(text, "data/in/big.dvc")
    assert (found.reads, found.writes) == ({"data/raw.csv"}, {"data/big"})


def test_places_that_are_no_files_of_the_repository_are_left_out() -> None:
    found = read("stages:\n  s: {cmd: x, deps: ['s3://b/x', /etc/x, ../../../x, 'ds://d', ~/x, ../..], outs: [x]}\n")
    assert found.reads == {""}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("stages: [", "bracket"),
        ("- a", "it is not a table"),
        ("stages:\n  s: {cmd: x, deps: ['../${gone}']}", "nothing defines '${gone}'"),
        ("vars: [gone.yaml]\nstages: {}", "git does not have"),
        ("vars: [x.py]\nstages: {}", "git does not have"),
        ("vars: [p.py]\nstages: {}", "is a program"),
        ("vars: [bad.yaml]\nstages: {}", "line 1 has an anchor"),
        ("vars: [p.json]\nstages: {}", "is not valid"),
        ("vars: [{a: 1}, {a: 2}]\nstages: {}", "define 'a' twice"),
        ("vars: [../../../x.yaml]\nstages: {}", "outside the repository"),
        ("vars: ['ok.yaml:gone']\nstages: {}", "does not have"),
        ("vars: [{a: 1e3}]\nstages:\n  s: {cmd: x, deps: ['../${a}']}", "'1e3'"),
        ("stages:\n  s: {cmd: x, deps: x}", "a list is expected"),
        ("stages:\n  s: {foreach: '${x}', do: {cmd: x}}", "nothing defines"),
        ("stages:\n  s: {matrix: {a: x}, cmd: x}", "a list is expected"),
        ("stages:\n  s: {foreach: [a], cmd: x}", "a table is expected"),
        ("stages:\n  s: {cmd: x, deps: [2024-01-01]}", "a path is expected"),
    ],
)
def test_what_cannot_be_expanded_is_unclear_and_never_empty(text: str, why: str) -> None:
    found = read(
        text,
        models__a__pDOTpy="a = 1",
        models__a__badDOTyaml="a: &b 1",
        models__a__pDOTjson="{",
        models__a__okDOTyaml="",
    )
    assert why in found.unclear
    assert "models/a" in found.reads
    assert "models/a" in found.writes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stages: &a {s: {cmd: x, deps: [data/x]}}", frozenset()),
        ("stages: &a {s: {cmd: x, deps: [../beta/x]}}", frozenset({"stages", "a", "s", "cmd", "x", "deps", "beta"})),
        ("stages: &a {s: {cmd: x, deps: ['../${b}/x']}}", None),
        ('stages: &a {s: {cmd: x, deps: ["..\\u002fb"]}}', None),
        ("stages: &a {s: {cmd: x, deps: [..]}}", None),
        ("stages: &a {s: {cmd: x, deps: [../..]}}", None),
        ("stages: &a {s: {cmd: x, deps: [../]}}", None),
    ],
)
def test_an_unclear_pipeline_reaches_only_where_its_words_lead(text: str, words: frozenset[str] | None) -> None:
    """One without `..` stays in its folder; one with a template may go anywhere."""
    found = read(text)
    assert found.unclear
    assert found.words == words


def test_too_many_stages_are_unclear_instead_of_slow() -> None:
    many = ", ".join(map(str, range(200)))
    text = f"stages:\n  s:\n    matrix: {{a: [{many}], b: [{many}]}}\n    cmd: x\n    deps: ['../x/${{item.a}}']\n"
    assert "more than" in read(text).unclear
