"""The published AsyncAPI documents are those of the tables, and fit AsyncAPI's own JSON Schema of 3.0.0 (S6)."""

import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

import triton_models
from adapters import settings
from clinstream.contracts import asyncapi

PACKAGE = "@asyncapi/specs@6.11.1"
SHA256 = "01af8744dc33c0c7eb2e908f6a955319ee58b70ecadc9387d1aeb16c0cd28928"


@pytest.fixture(scope="module")
def official() -> Any:
    """The schema, fetched once a machine with npm; skips where npm is absent or its registry does not answer."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not here to fetch AsyncAPI's own schema")
    cache = settings.load().cache / "asyncapi"
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / "asyncapi-specs-6.11.1.tgz"
    if not archive.exists():
        done = subprocess.run(
            [npm, "pack", "--silent", PACKAGE], cwd=cache, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.skip("AsyncAPI's own schema cannot be fetched here")
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256
    return _member(archive)


def _member(archive: Path) -> Any:
    with tarfile.open(archive) as packed:
        found = packed.extractfile("package/schemas/3.0.0.json")
        assert found is not None
        return json.load(found)


@pytest.mark.parametrize("side", asyncapi.SIDES)
def test_the_document_fits_asyncapi_3(official: Any, side: asyncapi.Side) -> None:
    """S6: what is published is AsyncAPI, by the judgement of those who define it."""
    document = json.loads(asyncapi.render(side, triton_models.discover()))
    validator = Draft7Validator(official)
    assert [error.message for error in validator.iter_errors(document)] == []
    del document["channels"]["releases.changed"]["address"]
    document["channels"]["releases.changed"]["adress"] = "releases.changed"
    assert not validator.is_valid(document)


@pytest.mark.parametrize("side", asyncapi.SIDES)
def test_the_published_document_is_what_the_table_gives(side: asyncapi.Side) -> None:
    """S6: a changed event, topic or model without a new document fails here."""
    assert asyncapi.path(side).read_text(encoding="utf-8") == asyncapi.render(side, triton_models.discover()), (
        "run `clinstream contract asyncapi --write` and commit docs/asyncapi"
    )
