"""Write the bill of materials that stands beside the wheel: what flyweight needs, as it is locked, in CycloneDX's JSON.

    python tools/bom.py dist torch==2.13.0   # what no lock holds is named in the call

The same locks give the same bytes: it has no time, and its serial number follows from what is in it.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
import uuid
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
OURS = "flyweight"


class Locked(NamedTuple):
    """A package in a lock.

    Attributes:
        name: as the index writes it.
        version: of it.
        marker: where it is needed; empty: everywhere.
        hashes: SHA-256 of each of its files.
        needed_by: names of packages, flyweight among them.
    """

    name: str
    version: str
    marker: str = ""
    hashes: tuple[str, ...] = ()
    needed_by: tuple[str, ...] = ()


def locked(lock: Path) -> list[Locked]:
    """What a lock of `make lock` holds, in its order."""
    found = []
    for entry in re.split(r"\n(?=[A-Za-z0-9])", lock.read_text(encoding="utf-8")):
        head = re.match(r"([\w.-]+)==(\S+)(?: ; (.+?))? \\\n", entry)
        if head is None:
            continue
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)
        # one package in the line of the word, several below it
        told = entry.partition("# via")[2].partition("\n\n")[0].replace("#", "").splitlines()
        # another lock that holds it, too, needs nothing
        needed_by = [line.split()[0] for line in told if line.strip() and not line.strip().startswith("-c ")]
        found.append(Locked(head[1], head[2], head[3] or "", tuple(hashes), tuple(needed_by)))
    return found


def bill(packages: list[Locked], version: str, base: set[str]) -> Bom:
    """The bill of materials.

    Args:
        packages: all of them.
        version: of flyweight.
        base: names of what flyweight needs whatever is asked of it; the others come with its extras.
    """
    makes: defaultdict[str, set[str]] = defaultdict(set)
    for one in packages:
        for parent in one.needed_by:
            makes[parent].add(one.name)
    required: set[str] = set()
    while base:
        required |= base
        base = {part for name in base for part in makes[name]} - required
    purl = PackageURL("pypi", None, OURS, version)
    own = Component(name=OURS, version=version, type=ComponentType.APPLICATION, bom_ref=OURS, purl=purl)
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, repr((version, packages))))
    bom.metadata.component = own
    parts: defaultdict[str, list[Component]] = defaultdict(list)
    for one in packages:
        parts[one.name].append(_component(one, one.name in required))
    for component in (part for same in parts.values() for part in same):
        bom.components.add(component)
    for parent in (own, *bom.components):
        bom.register_dependency(parent, [part for name in makes[parent.name] for part in parts[name]])
    return bom


def _component(one: Locked, required: bool) -> Component:
    purl = PackageURL("pypi", None, one.name, one.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(purl.to_string()),
        comment="one of these hashes for each of its files",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in one.hashes],
    )
    return Component(
        name=one.name,
        version=one.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{one.name}@{one.version}",
        purl=purl,
        scope=ComponentScope.REQUIRED if required else ComponentScope.OPTIONAL,
        external_references=[files] if one.hashes else [],
        properties=[Property(name="flyweight:marker", value=one.marker)] if one.marker else [],
    )


def as_json(lock: Path, unlocked: list[str]) -> str:
    """The bill of materials of a lock.

    Args:
        lock: of what flyweight needs with its extras.
        unlocked: packages besides, as ``name==version``, which flyweight needs itself.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = {str(canonicalize_name(Requirement(line).name)) for line in project["dependencies"]}
    given = [Locked(name, pin, needed_by=(OURS,)) for name, pin in (line.split("==") for line in unlocked)]
    packages = sorted((*locked(lock), *given), key=lambda one: (one.name, one.version))
    version = re.search(r'__version__ = "(.+?)"', (ROOT / OURS / "__init__.py").read_text(encoding="utf-8"))
    assert version is not None
    bom = bill(packages, version[1], base)
    bom.metadata.timestamp = None  # type: ignore[assignment]
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def main() -> int:
    """Write ``flyweight-<version>.cdx.json`` into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("unlocked", nargs="*", metavar="name==version")
    options = parser.parse_args()
    [wheel] = options.out.glob("*.whl")
    file = options.out / f"{'-'.join(wheel.name.split('-')[:2])}.cdx.json"
    file.write_text(as_json(ROOT / "locks" / "run.txt", options.unlocked), encoding="utf-8")
    sys.stdout.write(f"{file}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
