"""Origins, without a network: pip, dpkg-deb and pooch are the real ones, the packages are made here (synthetic)."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from allograft.core.errors import ConfigError, DataError
from allograft.data.origins import Address, Unreachable, cache, content_sha256, reachable, resolve
from allograft.data.origins.member import take_member

ORIGIN = "pypi:toy-images==1.0#toy_images/data/a.bin"
CONTENT = b"pixels" * 1000
SHA = hashlib.sha256(CONTENT).hexdigest()
META = "Metadata-Version: 2.1\nName: toy-images\nVersion: 1.0\n"


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own cache, and a pip that sees no index."""
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ALLOGRAFT_WHEELHOUSE", str(tmp_path / "carried"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    (tmp_path / "links").mkdir()
    (tmp_path / "carried").mkdir()


def wheel(folder: Path, members: dict[str, bytes] | None = None) -> Path:
    """Write a synthetic wheel."""
    folder.mkdir(exist_ok=True)
    path = folder / "toy_images-1.0-py3-none-any.whl"
    info = "toy_images-1.0.dist-info"
    members = {"toy_images/data/a.bin": CONTENT} if members is None else members
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/METADATA", META)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def sdist(folder: Path, ran: Path | None = None) -> Path:
    """Write a synthetic source archive whose build code leaves the file `ran` behind."""
    folder.mkdir(exist_ok=True)
    path = folder / "toy_images-1.0.tar.gz"
    backend = (
        "import os\n"
        f"open({str(ran)!r}, 'w').close()\n"
        "def prepare_metadata_for_build_wheel(folder, config_settings=None):\n"
        "    name = 'toy_images-1.0.dist-info'\n"
        "    os.mkdir(os.path.join(folder, name))\n"
        f"    open(os.path.join(folder, name, 'METADATA'), 'w').write({META!r})\n"
        "    return name\n"
        "def build_wheel(*args, **kwargs): raise RuntimeError\n"
    )
    project = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    files = {"toy_images/data/a.bin": CONTENT, "pyproject.toml": project.encode(), "backend.py": backend.encode()}
    with tarfile.open(path, "w:gz") as archive:
        for name, data in {**files, "PKG-INFO": META.encode()}.items():
            info = tarfile.TarInfo(f"toy_images-1.0/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def no_fetching(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr(cache, "fetch", refuse)


def test_pip_downloads_a_synthetic_wheel_and_installs_nothing(tmp_path: Path) -> None:
    wheel(tmp_path / "links")
    path = resolve(ORIGIN, sha256=SHA)
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(tmp_path / "home" / "origins")
    assert subprocess.run([sys.executable, "-c", "import toy_images"], capture_output=True, check=False).returncode


def test_the_second_call_fetches_nothing_and_a_second_member_takes_the_kept_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "links", {"toy_images/data/a.bin": CONTENT, "toy_images/b.txt": b"b"})
    first = resolve(ORIGIN, sha256=SHA)
    monkeypatch.setattr(cache, "fetch", None)
    assert resolve(ORIGIN, sha256=SHA) == first
    assert resolve("pypi:toy-images==1.0#toy_images/b.txt").read_bytes() == b"b"


def test_an_unchanged_file_is_not_read_again_and_a_changed_one_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "carried")
    path = resolve(ORIGIN, sha256=SHA)
    with monkeypatch.context() as patch:
        patch.setattr("allograft.data.origins.note.content_sha256", None)
        assert resolve(ORIGIN, sha256=SHA) == path
    path.write_bytes(b"damaged")
    assert resolve(ORIGIN, sha256=SHA).read_bytes() == CONTENT


def test_another_hash_is_an_error_that_names_both_and_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    wheel(tmp_path / "links")
    with pytest.raises(DataError, match=f"expected {'0' * 64}, got {SHA}") as caught:
        resolve(ORIGIN, sha256="0" * 64)
    assert not isinstance(caught.value, Unreachable)
    assert not list((tmp_path / "home").rglob("a.bin"))
    assert not list((tmp_path / "home").rglob("*.whl"))
    assert resolve(ORIGIN, sha256=SHA).read_bytes() == CONTENT


def test_a_file_cached_without_a_hash_is_still_checked_when_one_is_given(tmp_path: Path) -> None:
    wheel(tmp_path / "carried")
    resolve(ORIGIN)
    with pytest.raises(DataError, match="SHA-256 expected"):
        resolve(ORIGIN, sha256="1" * 64)


@pytest.mark.usefixtures("no_fetching")
@pytest.mark.parametrize("make", [wheel, sdist])
def test_the_wheelhouse_is_looked_at_first_and_a_source_archive_in_it_is_not_built(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    make(tmp_path / "carried")
    (tmp_path / "carried" / "toy_images-2.0-py3-none-any.whl").write_bytes(b"another version, never opened")
    assert resolve(ORIGIN, sha256=SHA).read_bytes() == CONTENT


def test_a_wheelhouse_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOGRAFT_WHEELHOUSE", "/no/such/folder")
    with pytest.raises(DataError, match="ALLOGRAFT_WHEELHOUSE=/no/such/folder"):
        resolve(ORIGIN)


def test_build_code_of_a_source_archive_runs_only_where_it_is_allowed(tmp_path: Path) -> None:
    wheel(tmp_path / "links", {"toy_images/__init__.py": b""})
    sdist(tmp_path / "links", tmp_path / "ran")
    with pytest.raises(DataError, match="allow_build=True") as caught:
        resolve(ORIGIN, sha256=SHA)
    assert 'its wheel has no "toy_images/data/a.bin"' in str(caught.value)
    assert not (tmp_path / "ran").exists()
    assert resolve(ORIGIN, sha256=SHA, allow_build=True).read_bytes() == CONTENT
    assert (tmp_path / "ran").exists()


def test_unreachable_says_how_to_carry_the_file_by_hand() -> None:
    with pytest.raises(Unreachable, match=r"pip download --no-deps toy-images==1\.0.*ALLOGRAFT_WHEELHOUSE"):
        resolve(ORIGIN)


def test_reachable_does_not_hide_a_wrong_hash(tmp_path: Path) -> None:
    wheel(tmp_path / "carried")
    with pytest.raises(DataError, match="SHA-256"):
        reachable(ORIGIN, sha256="0" * 64)
    assert reachable(ORIGIN, sha256=SHA)


def test_progress_counts_bytes_where_pip_tells_them() -> None:
    from allograft.data.origins import fetch
    from allograft.data.origins.address import Address

    seen: list[tuple[int, int, str]] = []
    fetch._tell("Progress 4096 of 20349679\n", Address.parse(ORIGIN), lambda *at: seen.append(at))
    fetch._tell("Collecting toy-images==1.0\n", Address.parse(ORIGIN), lambda *at: seen.append(at))
    assert seen == [(4096, 20349679, "toy-images")]


@pytest.mark.parametrize(
    ("origin", "says"),
    [
        ("pipy:toy==1#a", 'Did you mean "pypi"'),
        ("pypi:toy#a", "pypi:NAME==VERSION#path/inside"),
        ("pypi:--index-url==1#a", "expected the form"),
        ("pypi:toy==1#../../etc/passwd", "must be relative"),
        ("pypi:toy==1#/etc/passwd", "must be relative"),
        ("pypi:toy==1#a\\..\\b", "must be relative"),
        ("https://", "https://HOST/path/file"),
        ("deb:Name#a", "deb:NAME#path/inside"),
    ],
)
def test_origins_that_are_not_written_rightly(origin: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        resolve(origin)


def test_a_hash_that_is_none() -> None:
    with pytest.raises(ConfigError, match="64 lower-case"):
        resolve(ORIGIN, sha256="ABC")


def archive_with(path: Path, name: str, link: str = "") -> Path:
    """Write a hostile tar or zip file (synthetic)."""
    if path.suffix == ".tar":
        with tarfile.open(path, "w") as tar:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = (tarfile.SYMTYPE, link) if link else (tarfile.REGTYPE, "")
            info.size = 0 if link else 4
            tar.addfile(info, io.BytesIO(b"evil"))
        return path
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = (0o120777 if link else 0o100644) << 16
        archive.writestr(info, link or "evil")
    return path


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", ["data/../../../evil", "data//../../../../evil", "data/sub\\..\\..\\evil"])
def test_a_hostile_archive_writes_nothing_outside_its_folder(kind: str, name: str, tmp_path: Path) -> None:
    archive = archive_with(tmp_path / f"a.{kind}", name)
    into = tmp_path / "deep" / "into"
    into.mkdir(parents=True)
    with pytest.raises(DataError, match="outside its folder"):
        take_member(archive, "data/", into)
    assert not list(tmp_path.rglob("*evil"))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_links_in_archives_are_refused(kind: str, tmp_path: Path) -> None:
    archive = archive_with(tmp_path / f"a.{kind}", "data/a", link="/etc/passwd")
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(DataError, match="is a link"):
        take_member(archive, "data/a", into)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("d/zeros", b"\0" * 100_000)
        file.writestr("d/more", b"\0" * 100_000)
    for member, limit in (("d/zeros", 99_999), ("d/", 150_000)):
        into = tmp_path / f"into{limit}"
        into.mkdir()
        with pytest.raises(DataError, match="would unpack to 100000 bytes"):
            take_member(archive, member, into, limit=limit)


def test_damaged_archives_and_missing_members_are_named(tmp_path: Path) -> None:
    path = wheel(tmp_path / "whole")
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(DataError, match=r'holds no "toy_images/c\.bin"'):
        take_member(path, "toy_images/c.bin", into)
    cut = tmp_path / "cut-1.0-py3-none-any.whl"
    cut.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match=r"cut-1\.0-py3-none-any\.whl: not a whole archive"):
        take_member(cut, "toy_images/data/a.bin", into)


def test_a_whole_folder_of_a_package(tmp_path: Path) -> None:
    wheel(tmp_path / "carried", {"toy_images/series/1.dcm": b"1", "toy_images/series/sub/2.dcm": b"2", "other": b""})
    path = resolve("pypi:toy-images==1.0#toy_images/series/")
    assert sorted(p.relative_to(path).as_posix() for p in path.rglob("*.dcm")) == ["1.dcm", "sub/2.dcm"]
    digest = content_sha256(path)
    assert resolve("pypi:toy-images==1.0#toy_images/series/", sha256=digest) == path
    (path / "1.dcm").write_bytes(b"x")
    assert content_sha256(path) != digest


def test_four_processes_at_once_get_the_same_whole_file(tmp_path: Path) -> None:
    wheel(tmp_path / "carried", {"toy_images/data/a.bin": CONTENT * 500})
    digest = hashlib.sha256(CONTENT * 500).hexdigest()
    code = f"from allograft.data.origins import resolve; print(resolve({ORIGIN!r}, sha256={digest!r}))"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate()[0].strip() for process in running}
    assert [process.returncode for process in running] == [0] * 4
    assert said == {str(resolve(ORIGIN, sha256=digest))}
    assert not list((tmp_path / "home").rglob(".fetch.*"))


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not on this machine")
@pytest.mark.usefixtures("no_fetching")
def test_a_synthetic_debian_package(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr" / "share" / "toy").mkdir(parents=True)
    (tree / "usr" / "share" / "toy" / "a.bin").write_bytes(CONTENT)
    control = "Package: toy\nVersion: 1.0-2\nArchitecture: all\nMaintainer: nobody <a@b.invalid>\nDescription: toy\n"
    (tree / "DEBIAN" / "control").write_text(control)
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(tmp_path / "carried" / "toy_1.0-2_all.deb")],
        check=True,
        capture_output=True,
    )
    assert resolve("deb:toy#usr/share/toy/a.bin", sha256=SHA).read_bytes() == CONTENT
    assert resolve("deb:toy=1.0-2#usr/share/toy/a.bin", sha256=SHA).read_bytes() == CONTENT


def test_debian_packages_elsewhere_than_on_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allograft.data.origins.fetch.shutil.which", lambda _: None)
    assert not reachable("deb:toy#usr/share/toy/a.bin")


def test_local_files_and_finished_runs(tmp_path: Path) -> None:
    file = tmp_path / "w.bin"
    file.write_bytes(CONTENT)
    assert resolve(f"file:{file}", sha256=SHA) == file
    with pytest.raises(DataError, match="SHA-256 expected"):
        resolve(f"file:{file}", sha256="0" * 64)
    with pytest.raises(DataError, match="no such file"):
        resolve(f"file:{tmp_path}/missing")
    with pytest.raises(DataError, match="Has the run finished"):
        resolve(f"run:{tmp_path}")
    (tmp_path / "weights.safetensors").write_bytes(b"x")
    assert resolve(f"run:{tmp_path}") == tmp_path / "weights.safetensors"


def test_an_address_is_fetched_from_a_local_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.bin").write_bytes(CONTENT)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "served"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    real = pooch.retrieve
    monkeypatch.setattr(pooch, "retrieve", lambda url, **kw: real(url.replace("https:", "http:"), **kw))
    base = f"https://127.0.0.1:{server.server_port}"
    try:
        assert resolve(f"{base}/a.bin?token=1", sha256=SHA).read_bytes() == CONTENT
        assert not reachable(f"{base}/missing.bin")
    finally:
        server.shutdown()
        server.server_close()
    assert resolve(f"{base}/a.bin?token=1", sha256=SHA).name == "a.bin"


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    origin = "hf:owner/repo@main#folder/model.safetensors"
    assert not reachable(origin)
    (tmp_path / "carried" / "model.safetensors").write_bytes(CONTENT)
    assert resolve(origin, sha256=SHA).read_bytes() == CONTENT


def test_the_note_beside_a_file_is_plain_and_may_be_lost(tmp_path: Path) -> None:
    wheel(tmp_path / "carried")
    path = resolve(ORIGIN, sha256=SHA)
    note = path.with_name("a.bin.sha256.json")
    assert json.loads(note.read_text())["sha256"] == SHA
    note.write_text("not json")
    assert resolve(ORIGIN, sha256=SHA) == path


def parts_of(tmp_path: Path, *contents: bytes) -> str:
    """Write local files and return the origin of what they give when joined."""
    paths = [tmp_path / f"part{i}.bin" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return " + ".join(f"file:{path}" for path in paths)


def test_a_file_in_synthetic_parts_is_joined_in_order_checked_and_joined_once(tmp_path: Path) -> None:
    origin = parts_of(tmp_path, CONTENT[:100], CONTENT[100:700], CONTENT[700:])
    path = resolve(origin, sha256=SHA)
    assert path.read_bytes() == CONTENT
    shutil.rmtree(tmp_path / "home" / "origins" / "pypi", ignore_errors=True)
    (tmp_path / "part1.bin").unlink()
    assert resolve(origin, sha256=SHA) == path
    path.write_bytes(CONTENT + b"x")
    with pytest.raises(DataError, match="no such file"):
        resolve(origin, sha256=SHA)


def test_parts_in_another_order_or_without_a_hash_are_refused(tmp_path: Path) -> None:
    origin = parts_of(tmp_path, CONTENT[:100], CONTENT[100:])
    first, second = origin.split(" + ")
    with pytest.raises(DataError, match="SHA-256 expected"):
        resolve(f"{second} + {first}", sha256=SHA)
    with pytest.raises(ConfigError, match="SHA-256 must be given"):
        resolve(origin)
    with pytest.raises(ConfigError, match="unknown scheme"):
        resolve(f"{first} + ftp:x", sha256=SHA)


def test_a_part_may_be_a_member_of_a_package(tmp_path: Path) -> None:
    wheel(tmp_path / "links")
    rest = parts_of(tmp_path, b"more")
    sha = hashlib.sha256(CONTENT + b"more").hexdigest()
    assert resolve(f"{ORIGIN} + {rest}", sha256=sha).read_bytes() == CONTENT + b"more"


def test_npm_packages_are_packed_carried_and_never_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = Address.parse("npm:@some-one/thing@1.2.3#dist/thing.js")
    assert (address.name, address.version, address.member) == ("@some-one/thing", "1.2.3", "dist/thing.js")
    with pytest.raises(ConfigError, match="NAME@VERSION"):
        Address.parse("npm:thing#dist/thing.js")
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unreachable, match=r"npm pack @some-one/thing@1\.2\.3"):
        resolve(address.text)
    with tarfile.open(tmp_path / "some-one-thing-1.2.3.tgz", "w:gz") as archive:
        info = tarfile.TarInfo("package/dist/thing.js")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"ours"))
    monkeypatch.setenv("ALLOGRAFT_WHEELHOUSE", str(tmp_path))
    assert resolve(address.text).read_bytes() == b"ours"


def test_a_file_that_only_a_person_can_fetch_is_taken_from_the_folder_for_such_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ALLOGRAFT_WHEELHOUSE", raising=False)
    with pytest.raises(Unreachable, match=r"only a person can fetch it.*get given\.pth as its card says"):
        resolve("hand:given.pth")
    carried = tmp_path / "by-hand"
    carried.mkdir()
    (carried / "given.pth").write_bytes(b"weights")
    monkeypatch.setenv("ALLOGRAFT_WHEELHOUSE", str(carried))
    assert resolve("hand:given.pth").read_bytes() == b"weights"


def test_the_first_digits_of_a_hash_are_compared_where_only_these_are_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "given.pth").write_bytes(b"weights")
    monkeypatch.setenv("ALLOGRAFT_WHEELHOUSE", str(tmp_path))
    digest = hashlib.sha256(b"weights").hexdigest()
    for known in (digest[:8], digest[:8], digest):
        assert resolve("hand:given.pth", sha256=known).read_bytes() == b"weights"
    with pytest.raises(DataError, match="SHA-256 expected 00000000"):
        resolve("hand:given.pth", sha256="00000000")
    with pytest.raises(ConfigError, match="at least 8"):
        resolve("hand:given.pth", sha256=digest[:7])


def test_torchvisions_addresses_are_asked_of_the_installed_torchvision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ALLOGRAFT_WHEELHOUSE", raising=False)
    with pytest.raises(Unreachable, match=r"the installed torchvision has resnet18-f37072fd\.pth in its place"):
        resolve("torchvision:ResNet18_Weights.IMAGENET1K_V1#resnet18-00000000.pth")
    with pytest.raises(Unreachable, match="does not know these weights"):
        resolve("torchvision:ResNet18_Weights.IMAGENET1K_V9#resnet18-00000000.pth")
