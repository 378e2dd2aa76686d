"""A project whose storage is a bucket, against a real S3-compatible server (moto's) and with DVC's own client."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.rendering import command, commit, make, render

pytestmark = pytest.mark.slow

KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
BUCKET = "ml-models-dvc"
MODEL = "tumour"


@dataclass(frozen=True)
class Server:
    """The S3-compatible server: its address, and where it writes what it was asked."""

    address: str
    log: Path

    def asked(self) -> list[tuple[str, str]]:
        """Method and path of each request so far."""
        return re.findall(r'"([A-Z]+) (\S+) HTTP', self.log.read_text(errors="replace"))

    @cached_property
    def client(self) -> Any:
        """Another client than DVC's, to look at the bucket from outside."""
        return boto3.client(
            "s3", endpoint_url=self.address, region_name=KEYS["AWS_DEFAULT_REGION"],
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"], aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip

    def keys(self) -> set[str]:
        """What is in the bucket."""
        return {one["Key"] for one in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])}

    def read(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """moto's server with one empty bucket."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("s3") / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)],
            stdout=stream, stderr=stream,
        )  # fmt: skip
    found = Server(f"http://127.0.0.1:{port}", log)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.2)
        found.client.create_bucket(Bucket=BUCKET)
        yield found
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Path:
    """A project for a bucket, installed, with an origin, and with a version that is trained and in the bucket."""
    root = render(tmp_path_factory.mktemp("bucket"), {"storage": "s3"})
    make(root, "setup")
    # The one thing that a server of one's own needs; Amazon's is known by its protocol.
    address = ("remote", "modify", "storage", "endpointurl", server.address)
    done = command(str(root / ".venv/bin/dvc"), *address, cwd=root)
    assert done.returncode == 0, done.stderr
    commit(root, "Install")
    origin = root.parent / "origin.git"
    for words in (
        ("init", "--quiet", "--bare", "--initial-branch=main", str(origin)),
        ("remote", "add", "origin", str(origin)),
        ("push", "--quiet", "origin", "main"),
    ):
        subprocess.run(["git", *words], cwd=root, check=True)
    for settings in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        subprocess.run(["git", "config", settings, "true"], cwd=origin, check=True)
    mlops(root, root, "repro", MODEL)
    assert "new objects in the storage" in mlops(root, root, "push", MODEL)
    commit(root, "Train")
    subprocess.run(["git", "push", "--quiet", "origin", "main"], cwd=root, check=True)
    return root


def mlops(installed: Path, place: Path, *words: str, code: int = 0, **settings: str) -> str:
    """A verb of the installed project in a folder that may be another clone."""
    done = command(str(installed / ".venv/bin/mlops"), *words, cwd=place, **{**KEYS, **settings})
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def clone(project: Path, place: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", str(project.parent / "origin.git"), str(place)], check=True)
    return place


def test_every_object_in_the_bucket_has_the_bytes_of_its_name(project: Path, server: Server) -> None:
    """In DVC's own layout, and nothing beside it."""
    keys = server.keys()
    assert len(keys) >= 6
    for key in keys:
        found = re.fullmatch(r"files/md5/([0-9a-f]{2})/([0-9a-f]{30})(\.dir)?", key)
        assert found, key
        assert hashlib.md5(server.read(key)).hexdigest() == found[1] + found[2]


def test_a_fresh_clone_trains_nothing_and_the_gate_judges(project: Path, tmp_path: Path) -> None:
    place = clone(project, tmp_path / "clone")
    assert f"{MODEL}: nothing changed" in mlops(project, place, "repro", "--pull", MODEL)
    assert not (place / "models" / MODEL / "data" / "raw.parquet").exists()
    assert "passed" in mlops(project, place, "gate", MODEL)
    assert "data/raw.parquet came from the storage" in mlops(project, place, "pull", MODEL)
    assert command("git", "status", "--porcelain", "--untracked-files=no", cwd=place).stdout == ""


def test_a_laptop_without_credentials_is_not_blocked(project: Path, tmp_path: Path, server: Server) -> None:
    """One line says that the bucket could not be read; then the model is trained here."""
    place = clone(project, tmp_path / "clone")
    config = place / ".dvc" / "config"
    config.write_text(config.read_text().replace(server.address, "http://127.0.0.1:1"))
    said = mlops(project, place, "repro", "--pull", MODEL)
    assert re.search(r"(?m)^tumour: .*could not be read: .* What is missing is made again\.$", said)
    assert "ran ingest" in said


def test_a_version_is_stored_from_verified_bytes_and_nothing_is_deleted(
    project: Path, tmp_path: Path, server: Server
) -> None:
    """The role that writes may put and not delete, so no request of the whole path may be a DELETE."""
    job = clone(project, tmp_path / "job")
    subprocess.run(["git", "checkout", "--quiet", "-b", "better"], cwd=job, check=True)
    toml = job / "models" / MODEL / "model.toml"
    toml.write_text(re.sub(r"(?m)^folds = 5$", "folds = 4", toml.read_text()))
    commit(job, "Fewer folds")
    subprocess.run(["git", "push", "--quiet", "origin", "better"], cwd=job, check=True)
    head = command("git", "rev-parse", "HEAD", cwd=job).stdout.strip()
    before = server.keys()
    said = mlops(project, job, "repro", "--pull", MODEL)
    assert "ran tune, train, evaluate, explain" in said
    mlops(project, job, "gate", MODEL)
    packed = tmp_path / "artifacts" / f"outputs-{MODEL}"
    assert "more objects are in the storage already" in mlops(project, job, "pack", MODEL, "--into", str(packed))
    assert server.keys() == before
    base = clone(project, tmp_path / "base")
    store = ("store", str(packed.parent), "--branch", "better", "--head", head, "--json")
    value = json.loads(mlops(project, base, *store, MLOPS_PUSH_STARTS_CI="true").splitlines()[-1])
    assert [one["changed"] for one in value["stored"]] == [True]
    assert server.keys() > before
    after = clone(project, tmp_path / "after")
    subprocess.run(["git", "checkout", "--quiet", "better"], cwd=after, check=True)
    assert f"{MODEL}: nothing changed" in mlops(project, after, "repro", "--pull", MODEL)
    methods = {method for method, _ in server.asked()}
    assert methods <= {"GET", "HEAD", "PUT", "POST"}
    assert not any("delete" in path for _, path in server.asked())


def test_a_spoilt_object_reaches_neither_the_bucket_nor_the_branch(
    project: Path, tmp_path: Path, server: Server
) -> None:
    job = clone(project, tmp_path / "job")
    subprocess.run(["git", "checkout", "--quiet", "-b", "worse"], cwd=job, check=True)
    commit(job, "Nothing")
    subprocess.run(["git", "push", "--quiet", "origin", "worse"], cwd=job, check=True)
    head = command("git", "rev-parse", "HEAD", cwd=job).stdout.strip()
    mlops(project, job, "repro", "--pull", MODEL)
    mlops(project, job, "gate", MODEL)
    packed = tmp_path / "outputs"
    mlops(project, job, "pack", MODEL, "--into", str(packed))
    spoilt = next(path for path in sorted((packed / "objects").rglob("*")) if path.is_file())
    spoilt.write_bytes(b"evil")
    before = server.keys()
    base = clone(project, tmp_path / "base")
    said = mlops(project, base, "store", str(packed), "--branch", "worse", "--head", head, code=2)
    assert "has not the bytes of its name" in said
    assert server.keys() == before
    assert command("git", "ls-remote", "origin", "worse", cwd=base).stdout.split()[0] == head


def test_a_damaged_object_in_the_bucket_is_not_used(project: Path, tmp_path: Path, server: Server) -> None:
    """Whoever can write the bucket cannot make a clone use other bytes than its lock names."""
    place = clone(project, tmp_path / "clone")
    lock = (place / "models" / MODEL / "dvc.lock").read_text()
    found = re.search(r"path: data/holdout\.parquet\n\s+hash: md5\n\s+md5: ([0-9a-f]{32})", lock)
    assert found
    key = f"files/md5/{found[1][:2]}/{found[1][2:]}"
    good = server.read(key)
    holdout = place / "models" / MODEL / "data" / "holdout.parquet"
    server.write(key, b"evil")
    try:
        said = mlops(project, place, "pull", MODEL, code=2)
        assert found[1] in said
        assert not holdout.exists()
    finally:
        server.write(key, good)
    shutil.rmtree(place / ".dvc" / "cache", ignore_errors=True)
    assert "data/holdout.parquet" in mlops(project, place, "pull", MODEL)
    assert os.path.getsize(holdout) == len(good)


# What a service does on a host: it logs rows as they are asked for, in files that are soon full.
SERVED = f"""
import asyncio, json, sys
from pathlib import Path
import polars as pl
from serve.loading import load_to_serve
from serve.model import Model
from serve.service import Service
from serve.settings import Settings
log, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
service = Service(Model(load_to_serve(Path("models/{MODEL}/export"))), Settings(log=log, log_bytes=15_000))
names = [one["name"] for one in service.model.manifest["features"]]
rows = pl.read_parquet("models/{MODEL}/data/raw.parquet")[first:last]
for part in rows.iter_slices(20):
    body = json.dumps({{"rows": part.select(names).to_dicts(), "ids": part["biopsy"].to_list()}})
    asyncio.run(service.predict(*service.reader.rows(body.encode())))
service.close()
"""


def copied_by_rclone(project: Path, server: Server, host: Path) -> None:
    """What the page lets cron type, with this bucket and this folder."""
    program = shutil.which("rclone")
    if program is None:
        pytest.skip("rclone is not installed; Debian has it under that name")
    page = (project / "docs" / "how-to" / "monitor.md").read_text()
    settings = re.findall(r"(?m)^(RCLONE_\w+)=(.+)$", page)
    (words,) = re.findall(r"(?m)^17 \* .* --volume \S+:/log:ro .* rclone/rclone (copy /log \S+)$", page)
    given = [word.replace("/log", str(host)).replace("my-bucket", BUCKET) for word in words.split()]
    # Amazon's own server is known by its address and by one for each bucket; this one is not.
    here = {"RCLONE_CONFIG": os.devnull, "RCLONE_CONFIG_BUCKET_PROVIDER": "Other", "AWS_CA_BUNDLE": ""}
    here["RCLONE_CONFIG_BUCKET_ENDPOINT"] = server.address
    done = command(program, *given, cwd=host, **{**KEYS, **dict(settings), **here})
    assert done.returncode == 0, done.stderr


def copied_by_hand(project: Path, server: Server, host: Path) -> None:
    """Every file, whatever the bucket has of it."""
    for path in host.iterdir():
        server.write(f"predictions/{MODEL}/{path.name}", path.read_bytes())


@pytest.mark.parametrize("copied", [copied_by_rclone, copied_by_hand])
def test_a_log_that_is_copied_to_a_bucket_is_watched_there_row_by_row(
    copied: Callable[[Path, Server, Path], None], project: Path, server: Server, tmp_path: Path
) -> None:
    """Also rows whose files the host has removed meanwhile, and none of them twice."""
    before = server.keys()
    for step in range(4):
        words = ["-c", SERVED, str(tmp_path / "version-1.jsonl"), str(100 * step), str(100 * step + 100)]
        done = command(str(project / ".venv/bin/python"), *words, cwd=project)
        assert done.returncode == 0, done.stderr
        copied(project, server, tmp_path)
    assert len(list(tmp_path.iterdir())) == 5
    place = f"s3://{BUCKET}/predictions/{MODEL}/*"
    there = {key for key in server.keys() - before if key.startswith(f"predictions/{MODEL}/version-1.jsonl")}
    assert len(there) > 5
    mlops(project, project, "watch", MODEL, "--log", place, AWS_ENDPOINT_URL=server.address)
    look = json.loads((project / "reports" / MODEL / "watch.json").read_text())
    assert look["outcome"] == "quiet"
    assert look["window"]["rows"] == 399
    assert look["window"]["broken"] == 0
    for key in there:
        server.client.delete_object(Bucket=BUCKET, Key=key)
