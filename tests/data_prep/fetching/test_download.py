"""Fetching from a local server: interrupted, changed, wrong and hostile downloads, and two at the same time."""

import dataclasses
import hashlib
import io
import json
import os
import random
import re
import stat
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest

import data_prep
from common.errors import UserError
from data_prep.fetching import download, sources, transfer, unpack
from ser import cli, fetching
from tests.helpers import corpora
from tests.helpers.file_server import serving

NOISE = random.Random(7).randbytes(600_000)


class Watcher:
    """An observer that records the progress, and interrupts as Ctrl-C does after `stop_after` bytes."""

    def __init__(self, stop_after=None):
        self.begun, self.bytes, self.notes, self.stop_after = [], 0, [], stop_after

    def begin(self, what, total, done):
        self.begun.append((what, total, done))

    def advance(self, count):
        self.bytes += count
        if self.stop_after is not None and self.bytes >= self.stop_after:
            raise KeyboardInterrupt

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def site():
    with serving() as one:
        yield one


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SER_CORPORA", raising=False)
    monkeypatch.delenv("SER_MODELS", raising=False)


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(members, mode="w:gz"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members.items():
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


MEMBERS = {f"wav/03a0{number}Fa.wav": NOISE[number * 100_000 : (number + 1) * 100_000] for number in range(1, 5)}
ARCHIVE = zipped(MEMBERS)


def corpus(address, checksum=None, name="emodb.zip", **changes):
    """EMODB's source with a file of the local server."""
    one = dataclasses.replace(sources.SOURCES["emodb"], files=(sources.File(name, address, checksum),))
    return dataclasses.replace(one, **changes)


def left():
    """The files in the folder of all corpora, without locks."""
    return sorted(
        str(path.relative_to("corpora"))
        for path in Path("corpora").rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    )


def whole():
    return [f"emodb/{name}" for name in sorted(MEMBERS)] + ["fetched.json"]


def md5(content):
    return f"md5:{hashlib.md5(content).hexdigest()}"


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def refused(one, *words, watcher=None, **settings):
    """Fetching must fail with a short message that has these words; returns the message."""
    with pytest.raises(UserError) as caught:
        download.fetch(one, watcher or Watcher(), **settings)
    for word in words:
        assert word in str(caught.value)
    assert str(caught.value).count(". ") <= 2
    return str(caught.value)


def test_a_complete_download_is_unpacked_recorded_and_found(site):
    watcher = Watcher()
    fetched = download.fetch(corpus(site.put("emodb.zip", ARCHIVE), md5(ARCHIVE)), watcher)
    assert fetched == download.Fetched(Path("corpora/emodb").absolute(), 4, new=True)
    assert data_prep.find_root("emodb") == Path("corpora/emodb").resolve()
    assert left() == whole()
    assert all((Path("corpora/emodb") / name).read_bytes() == content for name, content in MEMBERS.items())
    assert [what for what, _, _ in watcher.begun] == ["emodb.zip", "verifying emodb.zip", "unpacking emodb.zip"]
    assert watcher.begun[0] == ("emodb.zip", len(ARCHIVE), 0)
    assert watcher.bytes == 2 * len(ARCHIVE) + sum(map(len, MEMBERS.values()))
    record = json.loads(Path("corpora/fetched.json").read_text())["emodb"]
    assert record["checksums"] == {"emodb.zip": md5(ARCHIVE)} and record["files"] == 4


def test_a_complete_source_is_not_requested_again(site):
    one = corpus(site.put("emodb.zip", ARCHIVE))
    download.fetch(one, Watcher())
    requests, watcher = len(site.log), Watcher()
    assert download.fetch(one, watcher).new is False
    assert len(site.log) == requests and watcher.begun == []


def test_an_incomplete_folder_or_one_of_the_user_is_left_alone(site):
    one = corpus(site.put("emodb.zip", ARCHIVE))
    download.fetch(one, Watcher())
    added = Path("corpora/emodb/wav/03a01Fa.txt")
    added.write_text("a person's own")
    assert download.fetch(one, Watcher()).new is False
    added.unlink()
    next(Path("corpora/emodb/wav").iterdir()).unlink()
    refused(one, "has 3 files", "but 4 of", "Remove it")
    Path("corpora/fetched.json").unlink()
    refused(one, "was not fetched by this command", "ser corpora emodb")
    assert len(left()) == 3


def test_an_empty_folder_is_replaced(site):
    Path("corpora/emodb").mkdir(parents=True)
    assert download.fetch(corpus(site.put("emodb.zip", ARCHIVE)), Watcher()).new


def test_an_interrupted_connection_is_resumed_where_it_broke(site):
    one = corpus(site.put("emodb.zip", ARCHIVE, cut=150_000), md5(ARCHIVE))
    refused(one, "emodb.zip", "after 150000", "continues from there")
    assert left() == ["downloads/emodb/emodb.zip.part", "downloads/emodb/emodb.zip.part.json"]
    site.files["/emodb.zip"].cut = None
    watcher = Watcher()
    download.fetch(one, watcher)
    assert [(entry.range, entry.status) for entry in site.log] == [(None, 200), ("bytes=150000-", 206)]
    assert site.log[1].sent == len(ARCHIVE) - 150_000
    assert watcher.begun[0] == ("emodb.zip", len(ARCHIVE), 150_000)
    assert left() == whole()


def test_an_interruption_keeps_what_was_downloaded(site):
    one = corpus(site.put("emodb.zip", ARCHIVE))
    with pytest.raises(KeyboardInterrupt):
        download.fetch(one, Watcher(stop_after=1))
    kept = Path("corpora/downloads/emodb/emodb.zip.part").stat().st_size
    assert 0 < kept <= len(ARCHIVE)
    download.fetch(one, Watcher())
    assert left() == whole()
    assert [entry.range for entry in site.log[1:]] in ([f"bytes={kept}-"], [])


@pytest.mark.parametrize("after", [len(ARCHIVE) + 1, 2 * len(ARCHIVE) + 1])
def test_an_interruption_while_verifying_or_unpacking_downloads_nothing_again(site, after):
    one = corpus(site.put("emodb.zip", ARCHIVE))
    with pytest.raises(KeyboardInterrupt):
        download.fetch(one, Watcher(stop_after=after))
    assert left() == ["downloads/emodb/emodb.zip", "downloads/emodb/emodb.zip.part.json"]
    download.fetch(one, Watcher())
    assert len(site.log) == 1 and left() == whole()


def test_a_process_killed_before_the_last_rename_downloads_nothing_again(site):
    one = corpus(site.put("emodb.zip", ARCHIVE))
    with pytest.raises(KeyboardInterrupt):
        download.fetch(one, Watcher(stop_after=len(ARCHIVE) + 1))
    path = Path("corpora/downloads/emodb/emodb.zip")
    path.rename(transfer.partial_file(path))
    download.fetch(one, Watcher())
    assert len(site.log) == 1 and left() == whole()


def test_leftovers_of_a_killed_process_are_removed(site):
    corpora.write_audio(Path("corpora/.emodb.unpacking/wav/99x99Xx.wav"))
    download.fetch(corpus(site.put("emodb.zip", ARCHIVE)), Watcher())
    assert left() == whole()


@pytest.mark.parametrize("change", [{"ranges": False}, {"tag": '"2"'}])
def test_all_is_downloaded_again_if_the_server_cannot_resume_or_the_file_changed(site, change):
    one = corpus(site.put("emodb.zip", NOISE[: len(ARCHIVE)], cut=150_000))
    refused(one, "continues from there")
    site.put("emodb.zip", ARCHIVE, **change)
    download.fetch(one, Watcher())
    assert [(entry.range, entry.status) for entry in site.log] == [(None, 200), ("bytes=150000-", 200)]
    assert left() == whole()


def test_without_a_tag_another_size_reveals_a_changed_file(site):
    one = corpus(site.put("emodb.zip", NOISE, tag=None, cut=150_000))
    refused(one, "continues from there")
    site.put("emodb.zip", ARCHIVE, tag=None)
    download.fetch(one, Watcher())
    assert [(entry.range, entry.status) for entry in site.log[1:]] == [("bytes=150000-", 206), (None, 200)]
    assert left() == whole()


def test_without_a_tag_a_file_of_the_same_size_is_resumed(site):
    one = corpus(site.put("emodb.zip", ARCHIVE, tag=None, cut=150_000))
    refused(one, "continues from there")
    site.files["/emodb.zip"].cut = None
    download.fetch(one, Watcher())
    assert site.log[1].sent == len(ARCHIVE) - 150_000 and left() == whole()


def test_a_partial_file_from_another_address_is_not_used(site):
    refused(corpus(site.put("old.zip", NOISE, cut=150_000)), "continues from there")
    download.fetch(corpus(site.put("emodb.zip", ARCHIVE)), Watcher())
    assert site.log[1].range is None and left() == whole()


def test_a_wrong_checksum_removes_the_file_and_the_error_names_both(site):
    wrong = md5(b"something else")
    refused(corpus(site.put("emodb.zip", ARCHIVE), wrong), md5(ARCHIVE), wrong, "published", "It was removed")
    assert left() == []


def test_the_first_checksum_is_recorded_and_compared_later(site):
    one = corpus(site.put("emodb.zip", ARCHIVE))
    download.fetch(one, Watcher())
    assert json.loads(Path("corpora/fetched.json").read_text())["emodb"]["checksums"]["emodb.zip"] == sha256(ARCHIVE)
    os.rename("corpora/emodb", "elsewhere")
    other = zipped({"wav/03a01Fa.wav": b"another"})
    site.put("emodb.zip", other)
    refused(one, sha256(ARCHIVE), sha256(other), "recorded on 20", "It was removed")
    assert left() == ["fetched.json"]
    site.put("emodb.zip", ARCHIVE)
    assert download.fetch(one, Watcher()).new


def test_a_truncated_archive_is_removed(site):
    for content in (ARCHIVE[:-500], tarred(MEMBERS)[:-500], tarred(MEMBERS, "w")[:-30_000]):
        refused(corpus(site.put("emodb.zip", content)), "emodb.zip", "It was removed; run the command again")
        assert left() == []


def test_a_damaged_record_is_an_error_that_names_it(site):
    one = corpus(site.put("emodb.zip", ARCHIVE))
    for text in ("[]", "{", '{"emodb": {}}', '{"emodb": 1}', '{"emodb": {"checksums": {}, "files": "1"}}'):
        Path("corpora").mkdir(exist_ok=True)
        Path("corpora/fetched.json").write_text(text)
        refused(one, "fetched.json is not a record")


def test_a_file_that_the_user_put_there_is_verified_unpacked_and_kept(site):
    one = corpus(f"{site.address}/missing.zip", md5(ARCHIVE))
    message = refused(one, "404", one.page, "by hand", "run the same command again")
    path = Path(re.search(r"put it at (\S+)", message)[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not it")
    refused(one, md5(b"not it"), md5(ARCHIVE), "Remove it")
    assert path.exists()
    path.write_bytes(ARCHIVE)
    requests = len(site.log)
    assert download.fetch(one, Watcher()).files == 4
    assert len(site.log) == requests and path.exists()
    assert left() == ["downloads/emodb/emodb.zip", *whole()]


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_the_error_for_a_failed_request_says_how_to_download_by_hand(site, status):
    refused(corpus(site.put("emodb.zip", ARCHIVE, status=status)), str(status), site.address, "by hand")
    assert left() == []


def test_the_error_without_a_connection_names_the_host(site):
    refused(corpus("https://host.invalid/emodb.zip"), "no connection to host.invalid", "by hand")
    refused(corpus("http://127.0.0.1:9/emodb.zip"), "no connection to 127.0.0.1:9")


def test_a_download_from_a_silent_server_is_resumed(site):
    held = threading.Event()
    one = corpus(site.put("emodb.zip", ARCHIVE, wait=held))
    refused(one, "stayed silent", "continues from there", timeout_s=0.3)
    held.set()
    del site.files["/emodb.zip"].wait
    download.fetch(one, Watcher())
    assert left() == whole()


def test_redirections_are_followed_except_from_https_to_http(site):
    site.put("real.zip", ARCHIVE)
    download.fetch(corpus(site.put("emodb.zip", b"", to="/real.zip")), Watcher())
    assert left() == whole()

    class Answer:
        url, history = "http://127.0.0.1/emodb.zip", ()

    with pytest.raises(transfer.Unreachable, match="without encryption"):
        transfer._refuse_downgrade(Answer(), "https://example.org/emodb.zip")


def link(name, kind, target="/etc/passwd"):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def zip_link():
    member = zipfile.ZipInfo("wav/link")
    member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return zipped({member: b"/etc/passwd"})


HOSTILE = {
    "zip with ..": (zipped({"wav/../../../up.wav": b"x"}), "leave the folder"),
    "tar with ..": (tarred({"wav/../../up.wav": b"x"}), "leave the folder"),
    "zip absolute": (zipped({"/tmp/up.wav": b"x"}), "leave the folder"),
    "tar absolute": (tarred({"/tmp/up.wav": b"x"}), "leave the folder"),
    "drive": (tarred({"C:/up.wav": b"x"}), "leave the folder"),
    "backslash": (tarred({"wav\\..\\up.wav": b"x"}), "leave the folder"),
    "symlink": (tarred({link("wav/a", tarfile.SYMTYPE): b""}), "is a link"),
    "hardlink": (tarred({"wav/a": b"x", link("wav/b", tarfile.LNKTYPE, "wav/a"): b""}), "is a link"),
    "symlink in zip": (zip_link(), "is a link"),
    "device": (tarred({link("wav/a", tarfile.CHRTYPE): b""}), "is a device"),
    "fifo": (tarred({link("wav/a", tarfile.FIFOTYPE): b""}), "is a device"),
    "twice": (tarred({tarfile.TarInfo("wav/a"): b"x", tarfile.TarInfo("wav/a"): b"y"}), "occurs twice"),
    "file as folder": (tarred({"wav": b"x", "wav/a": b"y"}), "occurs twice"),
    "bomb in zip": (zipped({"wav/zero.wav": bytes(20_000_000)}), "unpacks to more than"),
    "bomb in tar": (tarred({"wav/zero.wav": bytes(20_000_000)}), "unpacks to more than"),
    "other contents": (zipped({"readme.txt": b"moved"}), "does not hold wav, but readme.txt"),
    "empty": (zipped({}), "is empty"),
    "no archive": (b"<html>Please log in</html>", "neither a zip nor a tar archive"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_leave_nothing_outside_or_in_place(site, tmp_path, case):
    content, words = HOSTILE[case]
    refused(corpus(site.put("emodb.zip", content)), words)
    assert not any(path.name in ("up.wav", "a", "zero.wav", "link") for path in tmp_path.rglob("*"))
    assert not Path("corpora/emodb").exists() and not Path("corpora/fetched.json").exists()


def test_too_many_members_or_bytes_are_refused(site):
    one = corpus(site.put("emodb.zip", ARCHIVE), members=3)
    refused(one, "more than 3 members")
    refused(dataclasses.replace(one, members=20, unpacked=100_000), "unpacks to more than 300000 bytes")
    assert left() == []


def test_a_member_that_understates_its_size_is_refused(site, tmp_path):
    content = bytearray(zipped({"wav/a.wav": NOISE[:1000]}))
    for start in (content.index(b"PK\x03\x04") + 22, content.index(b"PK\x01\x02") + 24):
        content[start : start + 4] = (10).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        unpack.unpack(tmp_path / "a.zip", tmp_path / "out", members=9, unpacked=10**6)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_tar_archives_with_one_folder_around_all_are_unpacked(site, mode):
    content = tarred({f"emodb/{name}": content for name, content in MEMBERS.items()}, mode)
    download.fetch(corpus(site.put("emodb.tar.gz", content), name="emodb.tar.gz"), Watcher())
    assert left() == whole()


def test_parts_of_librispeech_lie_side_by_side_and_are_read(site, tmp_path):
    chapters = [("dev-clean", "84", "F", "121550", "1", 2), ("test-other", "367", "M", "130732", "2", 3)]
    corpora.librispeech(tmp_path / "release" / "LibriSpeech", chapters)
    paths = [path for path in (tmp_path / "release").rglob("*") if path.is_file()]
    release = {str(path.relative_to(tmp_path / "release")): path.read_bytes() for path in paths}
    for part, other, count in (("dev-clean", "test-other", 2), ("test-other", "dev-clean", 5)):
        files = {name: content for name, content in release.items() if f"/{other}/" not in name}
        content = tarred(files)
        file = sources.File(f"{part}.tar.gz", site.put(f"{part}.tar.gz", content), md5(content))
        one = dataclasses.replace(sources.SOURCES[f"librispeech/{part}"], files=(file,))
        assert download.fetch(one, Watcher()).path == Path(f"corpora/librispeech/LibriSpeech/{part}").absolute()
        assert download.fetch(one, Watcher()).new is False
        assert len(data_prep.read("librispeech")) == count
    assert sorted(path.name for path in Path("corpora/librispeech/LibriSpeech").iterdir() if path.is_dir()) == [
        "dev-clean",
        "test-other",
    ]


def test_parts_are_put_beside_those_that_lie_directly_in_the_folder():
    (Path("corpora/librispeech/dev-clean")).mkdir(parents=True)
    one = sources.SOURCES["librispeech/test-clean"]
    assert sources.source_folder(one) == Path("corpora/librispeech/test-clean")


def test_a_model_of_several_files_is_resumed(site):
    files = {"config.json": b"{}", "model.safetensors": NOISE}
    one = dataclasses.replace(
        sources.SOURCES["hubert-base-ls960"],
        files=tuple(sources.File(name, site.put(name, content)) for name, content in files.items()),
    )
    site.files["/model.safetensors"].cut = 1000
    refused(one, "model.safetensors", "continues")
    assert not Path("models/hubert-base-ls960").exists()
    site.files["/model.safetensors"].cut = None
    assert download.fetch(one, Watcher()).files == 2
    assert [entry.path for entry in site.log] == ["/config.json", "/model.safetensors", "/model.safetensors"]
    assert {path.name: path.read_bytes() for path in sources.source_folder(one).iterdir()} == files
    assert not Path("models/downloads").exists()


def test_a_dataset_is_fetched_by_the_list_of_its_server(site, monkeypatch):
    names = ["OAF_back_angry.wav", "YAF_back_sad.wav"]
    entries = []
    for number, name in enumerate(names):
        site.put(f"api/access/datafile/{number}", corpora.tone())
        digest = {"checksum": {"type": "SHA-256", "value": sha256(corpora.tone()).removeprefix("sha256:")}}
        if number:
            digest = {"md5": hashlib.md5(corpora.tone()).hexdigest()}
        entries.append({"label": name, "dataFile": {"id": number, **digest}})
    entries.append({"label": "Readme.pdf", "dataFile": {"id": 9, "md5": "0"}})
    query = "api/datasets/:persistentId/versions/:latest-published/files?persistentId=doi:1/2"
    site.put(query, json.dumps({"status": "OK", "data": entries}).encode())
    one = dataclasses.replace(sources.SOURCES["tess"], dataset=f"{site.address} doi:1/2")
    assert download.fetch(one, Watcher()).files == 2
    assert sorted(data_prep.read("tess")["utterance"]) == ["OAF_back_angry", "YAF_back_sad"]


def test_a_dataset_can_be_downloaded_by_hand(site):
    one = dataclasses.replace(sources.SOURCES["tess"], dataset=f"{site.address} doi:1/2")
    for answer in (None, b"<html>", b"{}", b'{"data": [{}]}', b'{"data": []}'):
        if answer is not None:
            name = "api/datasets/:persistentId/versions/:latest-published/files?persistentId=doi:1/2"
            site.put(name, answer)
        refused(one, "cannot be fetched", one.page, "downloads/tess/tess.zip")
    path = Path("corpora/downloads/tess/dataverse_files.zip")
    path.parent.mkdir(parents=True)
    path.write_bytes(zipped({"OAF_back_angry.wav": corpora.tone(), "MANIFEST.TXT": b"list"}))
    download.fetch(one, Watcher())
    assert len(data_prep.read("tess")) == 1


def test_two_processes_download_once(site):
    held = threading.Event()
    one = corpus(site.put("emodb.zip", ARCHIVE, wait=held))
    watchers, results = [Watcher(), Watcher()], []
    threads = [
        threading.Thread(target=lambda watcher=watcher: results.append(download.fetch(one, watcher)))
        for watcher in watchers
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while not any(watcher.notes for watcher in watchers) and time.monotonic() < deadline:
        time.sleep(0.01)
    held.set()
    for thread in threads:
        thread.join(10)
    assert sorted(result.new for result in results) == [False, True]
    assert len(site.log) == 1 and left() == whole()
    assert sum(watcher.notes == ["Another process is fetching emodb; waiting for it"] for watcher in watchers) == 1


def test_too_little_space_is_an_error_before_the_download(site):
    one = corpus(site.put("emodb.zip", ARCHIVE), size=10**18)
    refused(one, "needs about 1000000000.1 GB", "--to")
    assert site.log == []


def test_a_folder_that_cannot_be_written_is_an_error(site, tmp_path):
    (tmp_path / "corpora").write_text("a file")
    refused(corpus(site.put("emodb.zip", ARCHIVE)), "corpora", "--to")


@pytest.mark.parametrize("name", sources.SOURCES)
def test_every_source_is_complete(name):
    one = sources.SOURCES[name]
    assert one.name == name and one.title and one.licence and one.size > 0 and one.unpacked > 0
    assert all(file.address.startswith("https://") for file in one.files)
    assert one.files or one.dataset.startswith("https://")
    for file in one.files:
        assert file.checksum is None or re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", file.checksum)
    if one.corpus:
        assert one.licence == data_prep.corpus(one.folder).licence
        sources.source_folder(one).mkdir(parents=True)
        assert data_prep.find_root(one.folder) == Path("corpora", one.folder).resolve()
    else:
        assert sources.source_folder(one) == Path("models", one.folder)


def test_every_corpus_is_public_shipped_or_available_on_request():
    public = {one.folder for one in sources.SOURCES.values() if one.corpus}
    shipped = {name for name in data_prep.NAMES if data_prep.corpus(name).shipped is not None}
    assert sorted([*public, *sources.on_request(), *shipped]) == list(data_prep.NAMES)
    assert set(sources.LIBRISPEECH) == {part.name for part in data_prep.corpus("librispeech").subsets} - {"all"}


def test_folders_follow_the_environment_and_the_option_to(monkeypatch):
    monkeypatch.setenv("SER_CORPORA", "one")
    monkeypatch.setenv("SER_MODELS", "two")
    assert sources.source_folder(sources.SOURCES["emodb"]) == Path("one/emodb")
    assert sources.source_folder(sources.SOURCES["vggish"]) == Path("two/vggish")
    assert sources.source_folder(sources.SOURCES["emodb"], Path("three")) == Path("three/emodb")


def test_the_list_names_every_source(capsys):
    assert cli.main(["fetch"]) == 0
    out = capsys.readouterr().out
    for one in sources.SOURCES.values():
        line = next(line for line in out.splitlines() if f" {one.name} " in line)
        assert one.licence in line
    assert "208 MB" in out and "30.6 GB" in out and all(name in out for name in sources.on_request())


@pytest.mark.parametrize("name", sources.on_request())
def test_a_corpus_on_request_says_how_to_get_it_and_where_to_put_it(name, capsys):
    assert cli.main(["fetch", name]) == 2
    error = " ".join(capsys.readouterr().err.split())
    spec = data_prep.corpus(name)
    assert spec.title in error and spec.access in error and spec.layout in error and f"corpora/{name}" in error


@pytest.mark.parametrize(
    ("name", "word"),
    [("emobd", "emodb"), ("ravdes", "ravdess"), ("librispeech", "librispeech/dev-clean"), ("demo", "shipped"),
     ("librispeech/dev-claen", "librispeech/dev-clean"), ("hubert", "hubert-base-ls960")],
)  # fmt: skip
def test_a_name_that_is_no_source_offers_others(name, word, capsys):
    assert cli.main(["fetch", name]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ser: ") and word in error and "Traceback" not in error


def test_the_command_fetches_and_says_where(site, capsys, monkeypatch):
    address = site.put("emodb.zip", ARCHIVE)
    monkeypatch.setitem(sources.SOURCES, "emodb", corpus(address))
    assert cli.main(["fetch", "emodb", "--to", "elsewhere"]) == 0
    captured = capsys.readouterr()
    assert f"Fetched: {Path('elsewhere/emodb').absolute()}, 4 files" in captured.out
    assert "ser corpora emodb --root elsewhere/emodb" in captured.out
    assert "41 MB, licence CC0 1.0" in captured.err
    assert cli.main(["fetch", "emodb", "--to", "elsewhere"]) == 0
    assert "Already fetched" in capsys.readouterr().out


def test_the_interrupted_command_can_be_continued(site, capsys, monkeypatch):
    monkeypatch.setitem(sources.SOURCES, "emodb", corpus(site.put("emodb.zip", ARCHIVE)))

    def stop(self, count):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetching.Transfer, "advance", stop)
        assert cli.main(["fetch", "emodb"]) == 130
    assert "What was downloaded is kept; the same command continues" in capsys.readouterr().err
    assert cli.main(["fetch", "emodb"]) == 0


def test_progress_is_shown_on_a_terminal():
    from rich.console import Console

    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, highlight=False)
    with fetching.Transfer(console) as observer:
        observer.begin("emodb.zip", 1000, 0)
        observer.advance(500)
        observer.begin("verifying emodb.zip", 1000, 0)
        observer.bars.refresh()
        observer.note("a note [with brackets]")
    assert "verifying emodb.zip" in written.getvalue() and "[with brackets]" in written.getvalue()
