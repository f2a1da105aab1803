"""Anyone's recordings: a folder for each class, with its audio files in it or in folders below."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asctool.corpora._corpus import Corpus, existing_directory, refuse
from asctool.corpora._names import ids_of_paths, look_alikes, name_problem, shortened, warn_of_case
from asctool.errors import UsageError
from asctool.storage.dataset import Clip

AUDIO_EXTENSIONS = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .aiff .aif .aifc .au .snd .caf .w64 .rf64 .sph .voc".split()  # noqa: SIM905
)  # what libsndfile reads


@dataclass(frozen=True)
class Config:
    """Which files were cut from one recording and so must stay on one side of every fold.

    ``file``: every file is its own recording. ``prefix``: files whose names begin alike, up to the first
    ``group_separator``, are pieces of one (``yard-01.wav``, ``yard-02.wav``). ``folder``: those in one folder below the
    class are. The groups of ``prefix`` and ``folder`` go by name across classes (``kitchen/rec1-a.wav`` and
    ``street/rec1-b.wav`` are one): a recording may hold several classes, and what is together by mistake leaks nothing.
    """

    group: Literal["file", "prefix", "folder"] = "file"  # what was cut from one recording; by name, across classes
    group_separator: str = "-"  # of prefix: ends the name of a recording

    def __post_init__(self) -> None:
        if not self.group_separator:
            raise UsageError("group_separator is empty: give the text that ends the name of a recording, such as '-'")


def read(source: Path, config: Config) -> Corpus:
    """Every audio file below a class folder; labels are the names of the folders, in alphabetical order."""
    root = existing_directory(source)
    files, ignored, problems = _walk(root)
    audio = [path for path in files if "/" in path and Path(path).suffix.lower() in AUDIO_EXTENSIONS]
    refuse(source, [*problems, *_name_problems(audio), *_class_problems(audio)])
    clips = tuple(
        Clip(clip_id, str(root / path), (path.partition("/")[0],), _group(path, clip_id, config), 0.0)
        for path, clip_id in zip(audio, ids_of_paths(audio))
    )
    classes = tuple(sorted({clip.labels[0] for clip in clips}))
    warnings = (
        *_ignored([path for path in files if path not in set(audio)], ignored),
        *_empty_classes(root, classes),
        *_shared_groups(clips),
        *warn_of_case("classes", classes),
        *warn_of_case("clips", [clip.clip_id for clip in clips]),
    )
    return Corpus("folder", "", clips, (), classes, False, "", warnings)


def _walk(root: Path) -> tuple[list[str], list[str], list[str]]:
    """Files, linked folders inside classes (not followed: links can go in circles), and problems; paths from root."""
    files: list[str] = []
    links: list[str] = []
    problems: list[str] = []
    tops = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    files += [path.name for path in tops if not path.is_dir()]
    for top in filter(Path.is_dir, tops):
        for folder, subfolders, names in os.walk(top, onerror=lambda error: problems.append(str(error))):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            here = Path(folder).relative_to(root)
            links += [(here / name).as_posix() for name in subfolders if (root / here / name).is_symlink()]
            for name in sorted(name for name in names if not name.startswith(".")):
                path = (here / name).as_posix()
                if (root / path).is_file():
                    files.append(path)
                else:
                    problems.append(f"{path!r} is not a regular file")
    return files, links, problems


def _group(path: str, clip_id: str, config: Config) -> str:
    folders, _, name = path.rpartition("/")
    if config.group == "prefix" and config.group_separator in name:
        return name.partition(config.group_separator)[0]
    if config.group == "folder" and "/" in folders:
        return folders.partition("/")[2]
    return clip_id


def _name_problems(paths: Sequence[str]) -> Iterable[str]:
    for path in paths:
        if problem := name_problem(path):
            yield f"{path!r} {problem}"
    for name in sorted({path.partition("/")[0] for path in paths}):
        if name != name.strip():
            yield f"the class folder {name!r} begins or ends with white space; rename it"
    for first, other in look_alikes(paths):
        yield f"{first!r} and {other!r} read the same (NFC and NFD Unicode); rename one"


def _class_problems(paths: Sequence[str]) -> list[str]:
    classes = {path.partition("/")[0] for path in paths}
    if not classes:
        return ["no audio file lies in a folder below it; a class is a folder with its recordings"]
    if len(classes) == 1:
        return [f"there is one class only ({min(classes)!r}); give the folder that holds the folders of classes"]
    return []


def _ignored(files: Sequence[str], links: Sequence[str]) -> list[str]:
    warnings = []
    above = [path for path in files if "/" not in path]
    if above:
        warnings.append(f"{len(above)} files beside the class folders are left out: {shortened(above)}")
    if other := [path for path in files if "/" in path]:
        kinds = ", ".join(
            f"{kind or 'none'} ({n})" for kind, n in Counter(Path(p).suffix.lower() for p in other).items()
        )
        warnings.append(
            f"{len(other)} files that are no audio by their extension are left out: {kinds}: {shortened(other)}"
        )
    if links:
        warnings.append(f"{len(links)} linked folders inside class folders are left out: {shortened(links)}")
    return warnings


def _empty_classes(root: Path, classes: Sequence[str]) -> list[str]:
    folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    empty = [name for name in folders if name not in classes]
    return [f"{len(empty)} folders without an audio file are no classes: {shortened(empty)}"] if empty else []


def _shared_groups(clips: Sequence[Clip]) -> list[str]:
    """A warning of groups that go across classes: meant so, or names that begin alike by chance."""
    classes: dict[str, set[str]] = {}
    for clip in clips:
        classes.setdefault(clip.group, set()).update(clip.labels)
    shared = [f"{group!r} ({', '.join(sorted(names))})" for group, names in classes.items() if len(names) > 1]
    if not shared:
        return []
    remedy = "where that is chance, rename the files or give a table with a column group"
    return [f"{len(shared)} groups are taken for one recording in several classes: {shortened(shared)}; {remedy}"]
