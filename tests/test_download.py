"""Downloads from a server of the test's own, which breaks off and lies; archives that want out of their folder."""

import gzip
import hashlib
import http.server
import io
import re
import socket
import stat
import tarfile
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asctool import registry
from asctool.cli import run
from asctool.errors import DataError, EnvironmentFailure, UsageError
from asctool.parallel import Silent
from asctool.storage import download
from asctool.storage.data_directory import DataDirectory
from asctool.storage.download import FOLDER, Archive, fetch, fetch_all
from asctool.storage.locks import writer_lock
from asctool.storage.unpack import STAGING, unpack

CONTENT = bytes(range(256)) * 12_000  # 3 MB: several blocks
MD5 = hashlib.md5(CONTENT).hexdigest()
NO_WAITS = (0.0, 0.0)


class Server:
    """Files by name, and how the next answers go wrong; it keeps the ranges that it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str | None] = []
        self.break_after: list[int] = []  # bytes of a body, one for each of the next answers
        self.statuses: list[int] = []  # of the next answers
        self.ranges = True
        self.says_length = True
        self.shift = 0  # of the part that is sent, from the one that was asked for
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.http.handle_error = lambda request, client: None  # a client that has gone
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def archive(self, name: str, content: bytes, known: bool = True, remade: bool = False) -> Archive:
        """Serve a file; as a corpus would have it."""
        self.files[f"/{name}"] = content
        url = f"http://127.0.0.1:{self.http.server_port}/{name}"
        return Archive(url, hashlib.md5(content).hexdigest(), len(content) if known else None, remade)

    def _handler(server) -> type:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                server.asked.append(asked)
                content = server.files.get(self.path)
                if server.statuses or content is None:
                    self.send_error(server.statuses.pop(0) if server.statuses else 404)
                    return
                first = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
                if first >= len(content):
                    self.send_error(416)
                    return
                first += server.shift if asked else 0
                self.send_response(206 if asked and server.ranges else 200)
                if asked and server.ranges:
                    self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
                if server.says_length:
                    self.send_header("Content-Length", str(len(content) - first))
                self.end_headers()
                body = content[first:]
                self.wfile.write(body[: server.break_after.pop(0)] if server.break_after else body)
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_WR)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


class Heard:
    """What a progress bar was told."""

    def __init__(self) -> None:
        self.total = self.amount = 0.0

    def start(self, what: str, total: float, unit: str) -> None:
        self.total = total

    def advance(self, amount: float) -> None:
        self.amount += amount


@pytest.mark.parametrize("known", [True, False])
def test_a_whole_file(server: Server, known: bool, tmp_path: Path) -> None:
    heard = Heard()
    path = fetch(server.archive("a.zip", CONTENT, known), tmp_path, heard, NO_WAITS)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None]
    assert (heard.total, heard.amount) == (3.1, pytest.approx(3.072))
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_broken_connections_are_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.break_after = [1_000_000, 700_001, 1]
    path = fetch(server.archive("a.zip", CONTENT), tmp_path, Silent(), NO_WAITS)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-", "bytes=1700001-", "bytes=1700002-"]


def test_the_next_call_goes_on_where_one_gave_up(server: Server, tmp_path: Path) -> None:
    archive = server.archive("a.zip", CONTENT)
    server.break_after = [1_500_000, 0, 0, 0]
    with pytest.raises(EnvironmentFailure, match="ended after 1500000 of 3072000 bytes; 1500000 bytes are kept"):
        fetch(archive, tmp_path, Silent(), NO_WAITS)
    server.asked.clear()
    heard = Heard()
    assert fetch(archive, tmp_path, heard, NO_WAITS).read_bytes() == CONTENT
    assert server.asked == ["bytes=1500000-"]
    assert heard.amount == pytest.approx(3.072)


def test_a_file_that_was_whole_needs_no_server(server: Server, tmp_path: Path) -> None:
    archive = server.archive("a.zip", CONTENT)
    (tmp_path / "a.zip.part").write_bytes(CONTENT)  # killed before it got its name
    fetch(archive, tmp_path, Silent(), NO_WAITS)
    assert fetch(archive, tmp_path, Silent(), NO_WAITS).read_bytes() == CONTENT
    assert server.asked == []


def test_a_server_without_ranges_sends_it_anew(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.break_after = [2_000_000]
    assert fetch(server.archive("a.zip", CONTENT), tmp_path, Silent(), NO_WAITS).read_bytes() == CONTENT


def test_a_server_without_lengths(server: Server, tmp_path: Path) -> None:
    server.says_length = False
    assert fetch(server.archive("a.zip", CONTENT, known=False), tmp_path, Silent(), NO_WAITS).read_bytes() == CONTENT


def test_another_part_than_was_asked_for_is_not_used(server: Server, tmp_path: Path) -> None:
    server.break_after, server.shift = [1_000_000], 5
    assert fetch(server.archive("a.zip", CONTENT), tmp_path, Silent(), NO_WAITS).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-", None]


def test_what_is_no_beginning_of_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT + b"more")  # of a size not known: the server says 416
    assert fetch(server.archive("a.zip", CONTENT, known=False), tmp_path, Silent(), NO_WAITS).read_bytes() == CONTENT
    assert server.asked == ["bytes=3072004-", None]


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    assert fetch(server.archive("a.zip", CONTENT), tmp_path, Silent(), NO_WAITS).read_bytes() == CONTENT
    archive = server.archive("b.zip", CONTENT)
    server.files.clear()
    server.asked.clear()
    with pytest.raises(EnvironmentFailure, match="404 Not Found; download it by hand"):
        fetch(archive, tmp_path, Silent(), NO_WAITS)
    assert server.asked == [None]


def test_no_server_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        archive = Archive(f"http://127.0.0.1:{unused.getsockname()[1]}/a.zip", MD5)
        with pytest.raises(EnvironmentFailure, match=r"(?i)refused.*0 bytes are kept"):
            fetch(archive, tmp_path, Silent(), ())


def test_a_wrong_md5_is_refused_and_the_file_is_gone(server: Server, tmp_path: Path) -> None:
    archive = server.archive("a.zip", CONTENT)
    server.files["/a.zip"] = CONTENT[:-1] + b"x"
    with pytest.raises(DataError, match=f"its md5 is [0-9a-f]{{32}}, not {MD5} as published"):
        fetch(archive, tmp_path, Silent(), NO_WAITS)
    assert list(tmp_path.iterdir()) == []


def test_another_size_is_refused_before_it_is_fetched(server: Server, tmp_path: Path) -> None:
    archive = server.archive("a.zip", CONTENT)
    server.files["/a.zip"] = CONTENT * 2
    with pytest.raises(DataError, match="has 6144000 bytes, 3072000 were published"):
        fetch(archive, tmp_path, Silent(), NO_WAITS)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_stop(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1_000_000)
    server.says_length = False
    with pytest.raises(DataError, match="its md5 is"):
        fetch(server.archive("a.zip", CONTENT, known=False), tmp_path, Silent(), NO_WAITS)


def test_a_full_disk_is_said_before_the_first_byte(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(EnvironmentFailure, match=r"no room: 3\.1 MB are to come, 1\.0 MB are free"):
        fetch(server.archive("a.zip", CONTENT), tmp_path, Silent(), NO_WAITS)


def test_only_http_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only http and https"):
        fetch(Archive("file:///etc/passwd", MD5), tmp_path, Silent(), NO_WAITS)


# Archives


def zipped(files: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] = lambda info: None) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it stands: the constructor mends some names
            info.compress_type = zipfile.ZIP_DEFLATED
            change(info)
            file.writestr(info, content)
    return data.getvalue()


def tarred(files: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] = lambda info: None) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            change(info)
            file.addfile(info, io.BytesIO(content))
    return data.getvalue()


PACKED = {"zip": zipped, "tar.gz": tarred}
KINDS = pytest.mark.parametrize("kind", PACKED)


def put(kind: str, data: bytes, tmp_path: Path) -> tuple[Path, Path]:
    """The archive, and an empty target beside it."""
    archive = tmp_path / f"a.{kind}"
    archive.write_bytes(data)
    target = tmp_path / "target"
    target.mkdir()
    return archive, target


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@KINDS
def test_unpacking(kind: str, tmp_path: Path) -> None:
    files = {"top/audio/b.wav": CONTENT, "top/a.csv": b"a,b\n", "./top/empty": b""}
    archive, target = put(kind, PACKED[kind](files), tmp_path)
    (target / "top").mkdir()
    (target / "top" / "a.csv").write_text("old")
    (target / "top" / "other").write_text("kept")
    assert unpack(archive, target) == 3
    expected = {name.removeprefix("./"): content for name, content in files.items()}
    assert tree(target) == expected | {"top/other": b"kept"}
    assert not (target / STAGING).exists()


@KINDS
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "leads out"),
        ("../outside", "leads out"),
        ("a/../../outside", "leads out"),
        ("a\\..\\..\\outside", "leads out"),
        ("C:/outside", "leads out"),
        ("a\nb", "cannot be printed"),
        ("a" * 2000, "too long"),
        (f"{STAGING}/a", "kept for files under way"),
    ],
)
def test_names_that_are_refused(kind: str, name: str, reason: str, tmp_path: Path) -> None:
    archive, target = put(kind, PACKED[kind]({"good": b"good", name: b"bad"}), tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=f"refused: .*{reason}.*nothing was unpacked"):
        unpack(archive, target)
    assert sorted(tmp_path.rglob("*")) == before


@KINDS
def test_files_that_are_folders_too(kind: str, tmp_path: Path) -> None:
    archive, target = put(kind, PACKED[kind]({"a": b"1", "a/b": b"2"}), tmp_path)
    with pytest.raises(DataError, match="'a/b' is a file and a folder at once"):
        unpack(archive, target)
    assert tree(target) == {}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@KINDS
def test_a_file_that_comes_twice(kind: str, tmp_path: Path) -> None:
    archive, target = put(kind, PACKED[kind]({"a/b": b"1", "a//b": b"2"}), tmp_path)
    with pytest.raises(DataError, match="comes twice"):
        unpack(archive, target)
    assert tree(target) == {}


def make_link(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def of_type(kind: bytes) -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname, info.size = kind, "/etc/passwd", 0

    return change


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("zip", zipped({"link": b"/etc/passwd"}, make_link)),
        *(
            ("tar.gz", tarred({"link": b""}, of_type(kind)))
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE)
        ),
    ],
)
def test_links_and_devices_are_refused(kind: str, data: bytes, tmp_path: Path) -> None:
    archive, target = put(kind, data, tmp_path)
    with pytest.raises(DataError, match="'link' is a link or a device"):
        unpack(archive, target)
    assert list(target.iterdir()) == []


@KINDS
def test_a_link_in_the_target_is_not_followed(kind: str, tmp_path: Path) -> None:
    archive, target = put(kind, PACKED[kind]({"audio/a": b"1", "b": b"2"}), tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (target / "audio").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"audio: lies where a\..* has something else"):
        unpack(archive, target)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not (target / "b").exists()


@KINDS
def test_a_bomb(kind: str, tmp_path: Path) -> None:
    """200 MB of zeros in 200 kB: more than 30 times its size and 64 MiB."""
    archive, target = put(kind, PACKED[kind]({"zeros": bytes(200 << 20)}), tmp_path)
    assert archive.stat().st_size < 1 << 20
    tracemalloc.start()
    with pytest.raises(DataError, match="'zeros' makes it larger"):
        unpack(archive, target)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
    assert list(target.iterdir()) == []


def test_a_zip_that_understates_its_size(tmp_path: Path) -> None:
    data = zipped({"zeros": bytes(1 << 20)})
    lie = data.replace((1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lie != data
    archive, target = put("zip", lie, tmp_path)
    with pytest.raises(DataError, match="is damaged"):
        unpack(archive, target, max_bytes=100)
    assert list(target.iterdir()) == []


def test_many_small_files_add_up(tmp_path: Path) -> None:
    archive, target = put("zip", zipped({f"{n}": bytes(100) for n in range(11)}), tmp_path)
    with pytest.raises(DataError, match="'10' makes it larger"):
        unpack(archive, target, max_bytes=1000)
    assert unpack(archive, target, max_bytes=1100) == 11


def test_a_tar_header_of_gigabytes(tmp_path: Path) -> None:
    """A long name of 4 GiB, which tarfile would take into memory before anyone has seen it."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 4 << 30
    archive, target = put("tar.gz", gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096)), tmp_path)
    with pytest.raises(DataError, match="refused: has a header of 4294967296 bytes"):
        unpack(archive, target)


@KINDS
@pytest.mark.parametrize("damage", ["cut", "garbage", "flipped", "empty"])
def test_damaged_archives(kind: str, damage: str, tmp_path: Path) -> None:
    data = bytearray(PACKED[kind]({"a": CONTENT[:70_000], "b": bytes(5)}))
    if damage == "flipped":
        data[200] ^= 0xFF
    changed = {"cut": data[: len(data) // 2], "garbage": b"<html>" * 1000, "flipped": data, "empty": b""}[damage]
    archive, target = put(kind, bytes(changed), tmp_path)
    with pytest.raises(DataError, match=r"is damaged, or no archive \(.*download it again"):
        unpack(archive, target)
    assert list(target.iterdir()) == []


def test_an_unknown_kind_of_archive(tmp_path: Path) -> None:
    archive, target = put("7z", b"7z", tmp_path)
    with pytest.raises(DataError, match=r"\.zip, \.tar\.gz and \.tgz are unpacked"):
        unpack(archive, target)


def test_what_a_killed_unpacking_left_is_cleared(tmp_path: Path) -> None:
    archive, target = put("zip", zipped({"a": b"1"}), tmp_path)
    (target / STAGING / "a").mkdir(parents=True)
    assert unpack(archive, target) == 1
    assert tree(target) == {"a": b"1"}


# All of it


def test_prep_downloads_through_a_broken_connection(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = registry.load("corpora", "dcase2013")
    rng = np.random.default_rng(0)
    files = {}
    for scene in module.CLASSES:
        for number in range(1, 11):
            wav = io.BytesIO()
            soundfile.write(wav, rng.normal(size=(400, 2)) / 9, 8000, format="wav")
            files[f"scenes_stereo/{scene}{number:02d}.wav"] = wav.getvalue()
    archive = server.archive("scenes_stereo.zip", zipped(files))
    server.break_after = [50_000]
    monkeypatch.setattr(module, "archives", lambda config: (archive,))
    command = ["prep", "dcase2013", str(tmp_path / "corpus"), str(tmp_path / "data"), "--download", "--jobs", "1"]
    assert run(command) == 0, capsys.readouterr().err
    assert server.asked == [None, "bytes=50000-"]
    assert "going on from byte 50000" in capsys.readouterr().err
    data = DataDirectory(tmp_path / "data")
    assert len(data.tables.clips) == 100 and data.tables.fold_numbers == [1, 2, 3, 4, 5]
    server.asked.clear()
    assert run(command) == 0
    assert server.asked == []


def test_archives_of_a_corpus_are_fetched_once(server: Server, tmp_path: Path) -> None:
    archives = [server.archive("a.zip", zipped({"top/a": b"1"})), server.archive("b.tgz", tarred({"top/b": b"2"}))]
    assert fetch_all(archives, tmp_path / "corpus", Silent(), NO_WAITS) == 2
    assert {name: data for name, data in tree(tmp_path / "corpus").items() if "." not in name} == {
        "top/a": b"1",
        "top/b": b"2",
    }
    assert not list((tmp_path / "corpus" / FOLDER).glob("*.zip"))  # they are not kept beside what was in them
    server.asked.clear()
    assert fetch_all(archives, tmp_path / "corpus", Silent(), NO_WAITS) == 0
    assert server.asked == []


def test_a_refused_archive_unpacks_nothing_and_is_fetched_again_when_it_was_mended(
    server: Server, tmp_path: Path
) -> None:
    bad = server.archive("a.zip", zipped({"a": b"1", "../b": b"2"}), remade=True)
    with pytest.raises(DataError, match=r"'\.\./b' is a path that leads out"):
        fetch_all([bad], tmp_path / "corpus", Silent(), NO_WAITS)
    good = server.archive("a.zip", zipped({"a": b"1"}), remade=True)
    assert fetch_all([good], tmp_path / "corpus", Silent(), NO_WAITS) == 1
    assert not (tmp_path / "b").exists()


def test_an_archive_that_is_packed_anew_is_warned_of(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.log, "propagate", True)
    archive = server.archive("a.zip", zipped({"a": b"1"}), known=False, remade=True)
    server.files["/a.zip"] = zipped({"a": b"2"})
    assert fetch_all([archive], tmp_path / "corpus", Silent(), NO_WAITS) == 1
    assert "it was packed anew, or changed" in caplog.text
    assert (tmp_path / "corpus" / "a").read_bytes() == b"2"


def test_a_folder_with_files_of_the_users_own_is_not_written_into(server: Server, tmp_path: Path) -> None:
    (tmp_path / "corpus" / "audio").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds files that --download did not put there"):
        fetch_all([server.archive("a.zip", zipped({"a": b"1"}))], tmp_path / "corpus", Silent(), NO_WAITS)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "corpus", tmp_path / "corpus" / "audio"]
    assert server.asked == []


def test_two_downloads_of_one_corpus(server: Server, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    with writer_lock(tmp_path / "corpus" / FOLDER), pytest.raises(EnvironmentFailure, match="is writing it"):
        fetch_all([server.archive("a.zip", b"")], tmp_path / "corpus", Silent(), NO_WAITS)


WITH_ARCHIVES = ("dcase2013", "dcase2019", "esc10", "esc50", "urbansound8k")


@pytest.mark.parametrize("name", registry.names("corpora"))
def test_archives_of_the_corpora(name: str) -> None:
    """Where a corpus has archives they have addresses, sums and names of their own; where it has none it says why."""
    module = registry.load("corpora", name)
    if name not in WITH_ARCHIVES:
        if hasattr(module, "archives"):
            with pytest.raises(UsageError, match="by hand"):
                module.archives(module.Config())
        return
    archives = module.archives(module.Config())
    assert len({archive.name for archive in archives}) == len(archives) > 0
    for archive in archives:
        assert archive.url.startswith("https://")
        assert re.fullmatch("[0-9a-f]{32}", archive.md5)
        assert archive.remade or archive.n_bytes


def test_archives_of_dcase2019_are_those_of_zenodo() -> None:
    """The total is that of the record's table of files."""
    module = registry.load("corpora", "dcase2019")
    development = module.archives(module.Config())
    assert (len(development), sum(archive.n_bytes for archive in development)) == (23, 35_622_537_482)
    assert development[2].name == "TAU-urban-acoustic-scenes-2019-development.audio.1.zip"
    assert development[2].md5 == "aca4ebfd9ed03d5f747d6ba8c24bc728"
    assert development[-1].md5 == "0e44ed85c88ec036a9725b4dd1dfaea0"
    evaluation = module.archives(module.Config(dataset="evaluation"))
    assert [archive.name.split(".")[1:-1] for archive in evaluation[:3]] == [["meta"], ["doc"], ["audio", "1"]]
    assert len({archive.md5 for archive in (*development, *evaluation)}) == 23 + 13


@pytest.mark.parametrize(("corpus", "words"), [("folder", "no archive with a known md5"), ("fsdkaggle2019", "3612637")])
def test_corpora_without_known_archives_are_refused(
    corpus: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["prep", corpus, str(tmp_path / "corpus"), str(tmp_path / "data"), "--download"]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
