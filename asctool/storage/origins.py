"""What an artifact was made from, followed from manifest to manifest as far as it is still there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asctool.errors import AsctoolError
from asctool.storage import manifest, tags
from asctool.storage.data_directory import DataDirectory


@dataclass(frozen=True)
class Origin:
    """An artifact that another one came from."""

    path: Path
    manifest: dict[str, Any]

    @property
    def kind(self) -> str:
        """data, feature, embedding, run and so on."""
        return str(self.manifest["kind"])


@dataclass(frozen=True)
class Followed:
    """All artifacts behind some, nearest first, and a line on each that is gone or is another one by now."""

    origins: tuple[Origin, ...]
    lost: tuple[str, ...]

    def of_kind(self, kind: str) -> list[Origin]:
        """Those of one kind."""
        return [origin for origin in self.origins if origin.kind == kind]


def follow(directories: Sequence[Path], with_tags: bool = True) -> Followed:
    """The artifacts themselves and everything that their manifests lead to, each once; without what tagged them or not.

    An input counts only when its content is what the manifest says it was; errors of reading it are told, not raised.
    """
    found = {path.resolve(): Origin(path, manifest.read(path)) for path in directories}
    lost: dict[str, None] = {}
    waiting = list(found.values())
    for origin in waiting:
        for path, expected in _inputs(origin, with_tags):
            if path in found:
                continue
            try:
                made_from = Origin(path, manifest.read(path))
                if _content(made_from) != expected:
                    lost[f"{path} is not what {origin.path.name} was made from: it was made anew since"] = None
                    continue
            except (AsctoolError, OSError) as error:
                lost[f"{origin.path.name} was made from what is not there: {error}"] = None
                continue
            found[path] = made_from
            waiting.append(made_from)
    return Followed(tuple(found.values()), tuple(lost))


def _inputs(origin: Origin, with_tags: bool) -> Iterator[tuple[Path, str]]:
    """Where each input lies, and the hash of its content; paths are relative to what holds the artifact."""
    parent = origin.path.resolve().parent
    expected = {**origin.manifest.get("contents", {}), **origin.manifest["inputs"]}
    for name, path in origin.manifest.get("paths", {}).items():
        if name in expected and (with_tags or not name.startswith((tags.TAGS, tags.SOFT_TARGETS))):
            yield (parent / path).resolve(), expected[name]


def _content(origin: Origin) -> str:
    return DataDirectory(origin.path).content() if origin.kind == "data" else str(origin.manifest.get("content"))
