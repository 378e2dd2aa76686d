"""Does an environment's page refuse every mistake with a sentence, and does its reference page tell the truth?"""

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.deploying import environments
from mlops.deploying.environments import LIMITS, Environment, Page, load, names, parse
from mlops.errors import Refusal

PROJECT = Path(__file__).resolve().parents[3]
FOLDER = PROJECT / "deploy" / "environments"
REFERENCE = PROJECT / "docs" / "reference" / "environments.md"
WHERE = "deploy/environments/production.toml"
SMALL = 'target = "docker"\n'


def read(text: str, override: str = "") -> Environment:
    return parse(text, name="production", where=WHERE, override=override)


def refused(text: str, override: str = "") -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(text, override)
    refusal = caught.value
    assert refusal.do
    assert len(str(refusal).splitlines()) == 2
    assert len(str(refusal)) < 500
    return refusal


def rooted(folder: Path, **pages: str) -> Path:
    """A repository with these pages."""
    (folder / "deploy" / "environments").mkdir(parents=True)
    for name, text in pages.items():
        (folder / "deploy" / "environments" / f"{name}.toml").write_text(text)
    return folder


def test_a_small_page_gives_every_default() -> None:
    found = read(SMALL)
    assert (found.name, found.target, found.port, found.strategy, found.replicas) == (
        "production",
        "docker",
        8080,
        "canary",
        2,
    )
    assert (found.canary.weights, found.judge.requests, found.freeze.windows) == ([10, 50], 300, [])


# ---- where to deploy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "override", "host"),
    [
        ("", "", ""),
        ("", "ssh://elsewhere", ""),
        ('address = ""', "", None),
        ('address = ""', "  ", None),
        ('address = ""', "ssh://deploy@host", "ssh://deploy@host"),
        ('address = "ssh://a@b"', "", "ssh://a@b"),
        ('address = "ssh://a@b"', " ssh://c@d:2222 ", "ssh://c@d:2222"),
        ('address = "tcp://10.0.0.7:2376"', "", "tcp://10.0.0.7:2376"),
        ('address = "unix:///run/user/1000/docker.sock"', "", "unix:///run/user/1000/docker.sock"),
    ],
)
def test_no_target_yet_is_a_value_and_the_variable_wins_over_the_page(
    line: str, override: str, host: str | None
) -> None:
    """Only where the page names an address: what is at hand stays at hand."""
    assert read(SMALL + line, override).host == host


@pytest.mark.parametrize(
    "address",
    [
        "host",
        "http://host",
        "ssh://",
        "ssh://-oProxyCommand=x",
        "ssh://a@-b",
        "ssh://a b@c",
        "ssh://a@b/../c",
        "ssh://a@b;id",
        "tcp://host",
        "unix://relative",
        "$(id)",
        "-H",
        "ssh://a@b\n",
    ],
)
def test_an_address_that_is_none_is_refused_wherever_it_comes_from(address: str) -> None:
    """It goes to a command line."""
    written = address.replace("\n", "\\n")
    assert refused(f'{SMALL}address = "{written}"').what.startswith(f"{WHERE}: address is ")
    if address.strip() == address:
        assert refused(SMALL + 'address = ""', address).what.startswith("DEPLOY_ADDRESS is ")


@pytest.mark.parametrize("address", ["prod", "arn:aws:eks:eu-1:123:cluster/ml", "gke_p_z_c", "me@cluster.local"])
def test_the_address_of_a_cluster_is_a_context(address: str) -> None:
    assert read(f'target = "kubernetes"\naddress = "{address}"').host == address


@pytest.mark.parametrize("address", ["--kubeconfig=x", "-n", "a b", "a;b", "$x", "'"])
def test_a_context_that_could_be_an_option_or_code_is_refused(address: str) -> None:
    assert "a kubectl context" in refused(f'target = "kubernetes"\naddress = "{address}"').do


# ---- finding the page ----------------------------------------------------------------------------------------------


def test_a_page_is_found_by_its_name_and_a_slip_gets_a_hint(tmp_path: Path) -> None:
    root = rooted(tmp_path, staging=SMALL + 'address = ""', production=SMALL, **{"Not a name": SMALL})
    assert names(root) == ["production", "staging"]
    assert load(root, "staging", variables={}).host is None
    assert load(root, "staging", variables={"DEPLOY_ADDRESS": "ssh://a@b"}).host == "ssh://a@b"
    with pytest.raises(Refusal) as caught:
        load(root, "producton", variables={})
    assert (caught.value.what, caught.value.do) == ("There is no environment 'producton'.", "Did you mean production?")


@pytest.mark.parametrize("name", ["../staging", "", "staging.toml", "/etc/passwd", "x" * 10_000, "a\nb"])
def test_a_name_that_is_no_environment_says_which_there_are(tmp_path: Path, name: str) -> None:
    """Nothing outside of the folder is read."""
    root = rooted(tmp_path, qa=SMALL)
    with pytest.raises(Refusal, match="There is no environment") as caught:
        load(root, name, variables={})
    assert caught.value.do == "There is: qa."
    assert len(str(caught.value)) < 200


def test_a_repository_without_environments_says_where_one_would_be(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no environment 'local'") as caught:
        load(tmp_path, "local", variables={})
    assert "deploy/environments" in caught.value.do


def test_a_refusal_of_a_page_names_it_from_the_root(tmp_path: Path) -> None:
    root = rooted(tmp_path, qa=SMALL + "replicas = 0")
    with pytest.raises(Refusal) as caught:
        load(root, "qa", variables={})
    assert caught.value.what == "deploy/environments/qa.toml: replicas is 0."


# ---- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "what", "do"),
    [
        ("", "target is missing.", "Add it; its page in docs/reference lists all."),
        (SMALL + "replica = 3", "replica is not a known key.", "Did you mean replicas?"),
        (SMALL + "[judge]\nrequest = 3", "judge.request is not a known key.", "Did you mean judge.requests?"),
        (SMALL + "[freeze]\nwindow = []", "freeze.window is not a known key.", "Did you mean freeze.windows?"),
        (SMALL + 'name = "x"', "name is not a known key.", None),
        ('target = "podman"', "target is 'podman'.", "It can be 'docker' or 'kubernetes'."),
        (SMALL + 'strategy = "cannary"', "strategy is 'cannary'.", "Did you mean 'canary'? "),
        (SMALL + 'strategy = "bluegreen"', "strategy is 'bluegreen'.", "Did you mean 'blue-green'? "),
        (SMALL + "replicas = 2.0", "replicas is 2.0.", "It must be a whole number."),
        (SMALL + "[canary]\nweights = 10", "canary.weights is not a list.", None),
        (SMALL + '[canary]\nweights = ["10"]', "canary.weights[0] is '10'.", "It must be a whole number."),
        (SMALL + "[judge]\nerrors = nan", "judge.errors is nan.", "It must be a number."),
        (SMALL + "freeze = 1", "freeze is not a table.", None),
        (SMALL + SMALL, "is not valid TOML", "Mend that place."),
    ],
)
def test_a_mistake_is_named_with_what_to_write(text: str, what: str, do: str | None) -> None:
    refusal = refused(text)
    assert what in refusal.what
    assert refusal.what.startswith(WHERE)
    assert do is None or refusal.do.startswith(do)


# Each limit with values that it must refuse; `test_every_limit_has_a_breaker` sees to it that none is left out.
BREAKERS = {
    "port": ("0", "65536", "-1"),
    "proxy": ('""', '"-v"', '"a b"', '"haproxy;id"', '"HAProxy"'),
    "replicas": ("0", "101"),
    "canary.weights": ("[]", "[0]", "[100]", "[50, 10]", "[10, 10]", "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]"),
    "judge.requests": ("49", "1000001"),
    "judge.minutes": ("0", "1441"),
    "judge.seconds": ("0", "181"),
    "judge.errors": ("0", "-0.1", "1.1"),
    "judge.refusals": ("0", "1.01"),
    "judge.slow": ("0.0", "2"),
    "judge.fast_ms": ("-1", "10001"),
    "judge.shift": ("0", "1.5"),
    "judge.replay": ("-1", "1001"),
    "load.requests": ("0", "1000001"),
    "load.rate": ("0", "10001"),
    "load.p99_ms": ("0", "60001"),
    "freeze.reason": ('"a\\nb"', '" "', '"\\u001b[31m"'),
    "freeze.windows": ('[""]', '["Fri 16:00"]', '["Fri 16:00 / Mon 06:00", "always"]', '["Mon 06:00 / Mon 06:00"]'),
}


def with_line(key: str, value: str) -> str:
    section, _, name = key.rpartition(".")
    return SMALL + (f"[{section}]\n" if section else "") + f"{name} = {value}\n"


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BREAKERS.items() for value in values])
def test_a_value_beyond_a_limit_is_refused_with_its_key_and_what_it_must_be(key: str, value: str) -> None:
    refusal = refused(with_line(key, value))
    need = next(limit.need for limit in LIMITS if limit.key == key)
    assert refusal.what.startswith(f"{WHERE}: {key} is ")
    assert refusal.do == f"It must be {need}."


def test_every_limit_has_a_breaker() -> None:
    assert list(BREAKERS) == [limit.key for limit in LIMITS]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", "65535"),
        ("proxy", '"registry.example:5000/a/haproxy:3.2@sha256:0f"'),
        ("canary.weights", "[1, 99]"),
        ("judge.seconds", "180"),
        ("judge.errors", "1"),
        ("freeze.reason", '""'),
        ("freeze.windows", '["Fri 16:00 / Mon 06:00", "2026-12-20 00:00 / 2027-01-03 00:00"]'),
    ],
)
def test_a_value_at_its_limit_is_accepted(key: str, value: str) -> None:
    read(with_line(key, value))


VALUE = st.sampled_from(["nan", "-inf", "1979-05-27", "[1, 'a']", "{a.b = 1}", "9" * 4400, "true", '"x"']) | (
    st.integers().map(str) | st.floats().map(str) | st.text(max_size=8)
)


def keys() -> list[tuple[str, "dataclasses.Field[Any]"]]:
    """Every section (empty at the top) and key, from the dataclasses."""
    found: list[tuple[str, dataclasses.Field[Any]]] = []
    for item in dataclasses.fields(Page):
        if dataclasses.is_dataclass(item.type):
            found += [(f"{item.name}.", inner) for inner in dataclasses.fields(item.type)]
        else:
            found.append(("", item))
    return found


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(keys()), VALUE, st.text(max_size=12))
def test_any_value_gives_an_environment_or_a_refusal(
    pair: tuple[str, "dataclasses.Field[Any]"], value: str, override: str
) -> None:
    """Never another exception, never a long message."""
    text = with_line(pair[0] + pair[1].name, value)
    message = attempt(text.replace(SMALL, "") if pair[1].name == "target" else text, override)
    assert len(message) < 600


def attempt(text: str, override: str) -> str:
    """The refusal of a text, or nothing where it is accepted; any other exception is what the tests look for."""
    try:
        host = read(text, override).host
    except Refusal as refusal:
        return str(refusal)
    assert host is None or host.isprintable()
    return ""


# ---- the pages that come with the repository, and the page about them -----------------------------------------------


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_the_pages_that_come_with_the_repository_are_read(path: Path) -> None:
    """`local` is this machine; what the others are is theirs who change the pages."""
    text = re.sub(r'target = "\W+ *cookiecutter\.deploy *\W+"', 'target = "docker"', path.read_text(encoding="utf-8"))
    found = parse(text, name=path.stem, where=path.name)
    assert path.stem != "local" or found.host == ""


def test_the_pages_are_the_three_that_the_workflows_and_the_makefile_name() -> None:
    assert {"local", "staging", "production"} <= {path.stem for path in FOLDER.glob("*.toml")}


def test_an_unrendered_page_is_toml_too() -> None:
    assert all(tomllib.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.toml"))


def form(kind: Any) -> str:
    """The word that the reference page has for a type."""
    if get_origin(kind) is Literal:
        return " or ".join(f'`"{word}"`' for word in get_args(kind))
    words = {
        str: "text",
        int: "whole number",
        float: "number",
        list[int]: "list of whole numbers",
        list[str]: "list of texts",
    }
    return words[kind]


def default(item: "dataclasses.Field[Any]") -> str:
    if item.name == "address":
        return "the one at hand"
    if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
        return "required"
    value = item.default if item.default is not dataclasses.MISSING else item.default_factory()  # type: ignore[misc]
    return f"`{value}`" if not isinstance(value, str) else f'`"{value}"`'


def test_the_reference_page_lists_every_key_with_its_type_default_and_limit() -> None:
    """A key, a default or a limit that changes in the code changes on the page, or this fails."""
    found, section = {}, ""
    for line in REFERENCE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = re.fullmatch(r"## `\[(\w+)\]`", line)
            section = f"{heading[1]}." if heading else ""
        if row := re.fullmatch(r"\| `(\w+)` \| (.+?) \| (.+?) \| (.*?) ?\| (.+) \|", line):
            found[section + row[1]] = (row[2], row[3], row[4])
    limits = {limit.key: limit.need for limit in LIMITS}
    wanted = {
        prefix + item.name: (form(item.type), default(item), limits.get(prefix + item.name, ""))
        for prefix, item in keys()
    }
    wanted["address"] = (
        *wanted["address"][:2],
        "; ".join(f"{kind}: {needed}" for kind, needed in environments.ADDRESSES.items()),
    )
    assert found == wanted
