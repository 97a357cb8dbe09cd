import json
import os

import pytest

from common.files import write_atomic, write_json, write_text


def test_writing_makes_the_folder_and_leaves_one_file(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "Grüße\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "Grüße\n".encode()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c.txt"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), ValueError("x")])
def test_a_failed_write_leaves_the_old_file(tmp_path, error):
    def write(file):
        file.write(b"half of")
        file.flush()
        raise error

    path = tmp_path / "file"
    with pytest.raises(type(error)):
        write_atomic(path, write)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"old")
    with pytest.raises(type(error)):
        write_atomic(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_readers_never_see_half_of_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"new " * 1000)
        file.flush()
        assert path.read_bytes() == b"old"

    with path.open("rb") as reader:
        write_atomic(path, write)
        assert reader.read() == b"old"  # replaced, not overwritten
    assert path.read_bytes() == b"new " * 1000


@pytest.mark.skipif(os.name != "posix", reason="permission bits of POSIX")
def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "file", "x")
        (tmp_path / "plain").write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []
    write_json(tmp_path / "a.json", {"größe": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"größe": [1, 2.5, None]}
    assert "größe" in (tmp_path / "a.json").read_text(encoding="utf-8")
