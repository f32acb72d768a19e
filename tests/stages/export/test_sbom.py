"""The bill of materials fits the schema of CycloneDX 1.6, and names what is installed and nothing of the moment."""

import importlib.metadata
import json
import subprocess
import sys
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from tao_lite.stages.export.sbom import sbom
from tests.launcher.test_lock import closure, project


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    content = json.loads(sbom())
    assert isinstance(content, dict)
    return content


def test_it_fits_the_schema() -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    text = sbom()
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"type": "platform"', '"type": "snake"')) is not None


def test_it_names_what_export_requires_with_the_versions_that_are_installed(bill: dict[str, Any]) -> None:
    libraries = {one["name"]: one for one in bill["components"] if one["type"] == "library"}
    table = project()
    expected = closure([*table[""], *table["train"], *table["export"]])
    installed = {name for name in expected if [*importlib.metadata.distributions(name=name)]}
    assert libraries.keys() == installed
    assert {"torch", "onnx", "protobuf"} <= installed
    assert not {"pytest", "mypy", "matplotlib"} & libraries.keys()
    for name, one in libraries.items():
        assert one["version"] == importlib.metadata.version(name)
        purl = PackageURL.from_string(one["purl"])
        assert (purl.type, purl.name, purl.version) == ("pypi", name, one["version"])
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("tao-lite", importlib.metadata.version("tao-lite"))
    assert root["licenses"] == [{"expression": "Apache-2.0"}]
    assert bill["components"][0]["version"] == ".".join(map(str, sys.version_info[:3]))


def test_extras_say_what_else_made_it() -> None:
    names = {one["name"] for one in json.loads(sbom(("train", "export", "report")))["components"]}
    assert "matplotlib" in names


def test_every_dependency_is_a_component(bill: dict[str, Any]) -> None:
    known = {one["bom-ref"] for one in (bill["metadata"]["component"], *bill["components"])}
    refs = {one["ref"]: set(one["dependsOn"]) for one in bill["dependencies"]}
    assert refs.keys() == known - {"python"}
    assert set().union(*refs.values()) <= known
    assert {"click", "protobuf", "torch", "onnx"} <= refs["tao-lite"]


def test_most_licences_are_said_and_none_is_a_whole_text(bill: dict[str, Any]) -> None:
    said = [one.get("licenses", []) for one in bill["components"][1:]]
    assert sum(map(bool, said)) > 0.9 * len(said)
    names = [str(licence) for licences in said for licence in licences]
    assert [name for name in names if "\\n" in name or "Permission is hereby" in name] == []


def test_two_processes_write_the_same(bill: dict[str, Any]) -> None:
    code = "from tao_lite.stages.export.sbom import sbom; print(sbom(), end='')"
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert again.stdout == sbom()
    assert not {"serialNumber", "timestamp"} & {*bill, *bill["metadata"]}
