"""The SBOM: what made an exported file, as a CycloneDX 1.6 bill of materials.

The Python packages are those that tao_lite requires for it, found by the metadata of what is installed. Neither a time
nor a random number is in it: the same environment has the same bill. Source: https://cyclonedx.org/docs/1.6/json/
"""

import json
import platform
import re
from collections.abc import Sequence
from importlib import metadata
from urllib.parse import quote

from packaging.requirements import Requirement

_ROOT = "tao-lite"
_MOST_CHARACTERS = 100  # of a licence's name; some metadata hold the whole text


def sbom(extras: Sequence[str] = ("train", "export")) -> str:
    """The bill as JSON: tao_lite with these extras, all that they require and is installed here, and Python."""
    found = _closure(extras)
    about = {name: _component(name) for name in sorted(found)}
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "component": {"type": "application", **about.pop(_ROOT)},
        },
        "components": [
            {"type": "platform", "bom-ref": "python", "name": "python", "version": platform.python_version()},
            *({"type": "library", **one} for one in about.values()),
        ],
        "dependencies": [{"ref": name, "dependsOn": sorted(found[name])} for name in sorted(found)],
    }
    return json.dumps(bill, indent=2) + "\n"


def _closure(extras: Sequence[str]) -> dict[str, set[str]]:
    """The distributions by name, each with the names of those that it requires."""
    found: dict[str, set[str]] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(_ROOT, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        required = {_normalised(each.name): each.extras for each in _required(name, extra)}
        found.setdefault(name, set()).update(required)
        waiting += [(other, asked) for other, asked_for in required.items() for asked in ("", *asked_for)]
    return found


def _required(name: str, extra: str) -> list[Requirement]:
    """What a distribution requires here for one of its extras, or always, as far as it is installed."""
    requirements = map(Requirement, metadata.requires(name) or [])
    return [
        one
        for one in requirements
        if (not one.marker or one.marker.evaluate({"extra": extra})) and _is_installed(one.name)
    ]


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _normalised(name: str) -> str:
    """Source: https://packaging.python.org/en/latest/specifications/name-normalization/"""
    return re.sub(r"[-_.]+", "-", name).lower()


def _component(name: str) -> dict[str, object]:
    distribution = metadata.distribution(name)
    licences = _licences(distribution)
    return {
        "bom-ref": name,
        "name": name,
        "version": distribution.version,
        **({"licenses": licences} if licences else {}),
        "purl": f"pkg:pypi/{name}@{quote(distribution.version, safe='')}",
    }


def _licences(distribution: metadata.Distribution) -> list[dict[str, object]]:
    """As the metadata say it: an expression, else a name, else what the classifiers name."""
    expression, name = (_said(distribution, field) for field in ("License-Expression", "License"))
    if expression:
        return [{"expression": expression}]
    if name and "\n" not in name and len(name) <= _MOST_CHARACTERS:
        return [{"license": {"name": name}}]
    classifiers = [one.split(" :: ") for one in distribution.metadata.get_all("Classifier") or []]
    return [{"license": {"name": one[-1]}} for one in classifiers if one[0] == "License"]


def _said(distribution: metadata.Distribution, field: str) -> str:
    return str((distribution.metadata.get_all(field) or [""])[0]).strip()
