"""Labels of a person: on disk before they are confirmed, also under kills, torn lines and many hands at once."""

from __future__ import annotations

import csv
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from allograft.core.errors import ConfigError, DataError
from allograft.data.case import ImageRef
from allograft.data.drawn_masks import drawn_masks, keep_mask, kept_mask, meaning_of
from allograft.data.io.image import read_image
from allograft.data.io.mask import read_mask
from allograft.data.picture import plane, png, slices
from allograft.web.hand_out import hand_out
from allograft.web.journal import Journal, read_rows
from allograft.web.labelling import LabelServer, keys_of
from allograft.web.take_masks import image_of, take_masks

CLASSES = ("grass", "gravel")


def questions(folder: Path, count: int = 6) -> list[dict[str, str]]:
    """Write synthetic pictures; return rows of questions."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(count):
        path = folder / f"Mustermann{i}.png"
        Image.fromarray(np.full((8, 12), 30 * i, np.uint8)).save(path)
        rows.append({"case": f"case{i}", "path": str(path), "key": "", "row": ""})
    return rows


def answers(path: Path) -> dict[str, str]:
    with path.open(newline="") as file:
        return {row["case"]: row["label"] for row in csv.DictReader(file)}


def test_an_answer_is_in_table_and_journal_at_once_and_can_be_taken_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "labels.csv", questions(tmp_path), CLASSES)
    journal.set("case0", "grass")
    assert answers(journal.out)["case0"] == "grass"
    assert json.loads(journal.path.read_text()) == {"case": "case0", "label": "grass"}
    size = journal.path.stat().st_size
    journal.set("case0", "grass")
    assert journal.path.stat().st_size == size, "said twice, kept once"
    journal.set("case0", "")
    assert answers(journal.out)["case0"] == ""
    for case, label in (("case9", "grass"), ("case0", "sand")):
        with pytest.raises(ConfigError):
            journal.set(case, label)
    journal.close()


def test_the_journal_is_replayed_and_a_torn_line_is_cut(tmp_path: Path) -> None:
    rows, out = questions(tmp_path), tmp_path / "labels.csv"
    first = Journal(out, rows, CLASSES)
    first.set("case1", "gravel")
    first._file_lock.release()  # what a kill does
    out.unlink()  # killed between the journal and the table
    with first.path.open("ab") as file:
        file.write(b'{"case": "case2", "lab')
    again = Journal(out, rows, CLASSES)
    assert dict(again.labels) == {**dict.fromkeys(again.questions, ""), "case1": "gravel"}
    again.set("case2", "grass")
    assert [json.loads(line)["case"] for line in again.path.read_text().splitlines()] == ["case1", "case2"]
    again.close()
    assert answers(out)["case2"] == "grass"
    assert not again.path.exists()


def test_earlier_answers_stay_and_a_second_writer_is_refused(tmp_path: Path) -> None:
    rows, out = questions(tmp_path), tmp_path / "labels.csv"
    first = Journal(out, rows[:3], CLASSES)
    first.set("case0", "grass")
    with pytest.raises(ConfigError, match="open in another"):
        Journal(out, rows, CLASSES)
    first.close()
    second = Journal(out, rows[3:], CLASSES)
    second.set("case4", "gravel")
    second.close()
    assert {k: v for k, v in answers(out).items() if v} == {"case0": "grass", "case4": "gravel"}
    with pytest.raises(DataError, match="none of sand, mud"):
        Journal(out, rows, ("sand", "mud"))


def test_a_journal_of_something_else_is_not_read_over(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    out.with_name("labels.csv.journal").write_text("no json\n")
    with pytest.raises(DataError, match="line 1"):
        Journal(out, questions(tmp_path), CLASSES)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LabelServer]:
    made = LabelServer(Journal(tmp_path / "labels.csv", questions(tmp_path), CLASSES))
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    made.journal.close()


def ask(server: Any, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    port = server if isinstance(server, int) else server.server_address[1]
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    given = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    link.request(method, path, None if body is None else json.dumps(body), given)
    found = link.getresponse()
    content = found.read()
    link.close()
    return found.status, content


def test_the_page_its_images_and_answers(server: LabelServer) -> None:
    base = f"/{server.token}"
    status, page = ask(server, "GET", f"{base}/")
    assert status == 200
    assert b"http" not in page
    state = json.loads(ask(server, "GET", f"{base}/state")[1])
    assert state["labels"] == [""] * 6
    assert b"Mustermann" not in page
    assert "Mustermann" not in json.dumps(state)
    status, picture = ask(server, "GET", f"{base}/image/2/0")
    assert (status, picture[:8]) == (200, b"\x89PNG\r\n\x1a\n")
    assert json.loads(ask(server, "GET", f"{base}/about/0")[1]) == {"slices": 1, "middle": 0}
    assert ask(server, "POST", f"{base}/label", {"number": 2, "label": "gravel"})[0] == 200
    assert answers(server.journal.out)["case2"] == "gravel"


def test_strangers_and_nonsense_are_refused(server: LabelServer) -> None:
    base, good = f"/{server.token}", {"number": 0, "label": "grass"}
    for path in ("/", "/wrong/", f"/{server.token}x/", f"/{server.token}", "/label"):
        assert ask(server, "GET", path)[0] == 404
        assert ask(server, "POST", path + "label", good)[0] in {404}
    assert ask(server, "POST", f"{base}/label", good, Host="evil.example")[0] == 404
    assert ask(server, "POST", f"{base}/label", good, Content_Type="text/plain")[0] == 400
    for body in ({"number": 99, "label": "grass"}, {"number": -1, "label": "grass"}, {"number": "0", "label": "grass"},
                 {"number": 0, "label": "sand"}, [1], {"number": 0, "label": "x" * 20000}):  # fmt: skip
        assert ask(server, "POST", f"{base}/label", body)[0] == 400
    for path in ("image/99/0", "image/a/0", "../../etc/passwd", "about/7"):
        assert ask(server, "GET", f"{base}/{path}")[0] == 404
    assert not any(server.journal.labels.values())


def test_an_image_that_cannot_be_read_is_said_and_the_others_go_on(server: LabelServer) -> None:
    Path(server.journal.questions["case3"]["path"]).write_bytes(b"torn")
    status, said = ask(server, "GET", f"/{server.token}/about/3")
    assert status == 422
    assert "error" in json.loads(said)
    assert ask(server, "GET", f"/{server.token}/about/4")[0] == 200


def test_many_and_repeated_posts_at_once_lose_nothing(server: LabelServer) -> None:
    posts = [{"number": n % 6, "label": CLASSES[n % 6 % 2]} for n in range(60)]
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda body: ask(server, "POST", f"/{server.token}/label", body)[0], posts))
    assert codes == [200] * 60
    assert answers(server.journal.out) == {f"case{n}": CLASSES[n % 2] for n in range(6)}
    assert len(server.journal.path.read_text().splitlines()) == 6


def _started(folder: Path) -> tuple[subprocess.Popen[str], int, str]:
    # A test run in the background ignores Ctrl-C, and so would what it starts.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from allograft.cli import main; sys.argv = ['allograft', *sys.argv[1:]]; main()"
    )
    words = (
        "label",
        folder / "ask.csv",
        "--out",
        folder / "labels.csv",
        "--classes",
        ",".join(CLASSES),
        "--no-browser",
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code, *map(str, words)], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    _, _, host, token, _ = url.split("/")
    return process, int(host.rpartition(":")[2]), token


def test_killed_between_answers_nothing_confirmed_is_lost(tmp_path: Path) -> None:
    rows = questions(tmp_path, 8)
    with (tmp_path / "ask.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    confirmed: dict[str, str] = {}
    for turn in range(3):
        process, port, token = _started(tmp_path)
        try:
            for n in (2 * turn, 2 * turn + 1):
                assert ask(port, "POST", f"/{token}/label", {"number": n, "label": CLASSES[n % 2]})[0] == 200
                confirmed[f"case{n}"] = CLASSES[n % 2]
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(20)
        assert {k: v for k, v in answers(tmp_path / "labels.csv").items() if v} == confirmed
    process, port, token = _started(tmp_path)
    assert json.loads(ask(port, "GET", f"/{token}/state")[1])["labels"][:6] == [CLASSES[n % 2] for n in range(6)]
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    time.sleep(0.05)
    assert not (tmp_path / "labels.csv.journal").exists()


def test_keys_are_numbers_and_initials_that_are_free() -> None:
    assert keys_of(["grass", "gravel", "sand"]) == [["1"], ["2"], ["3", "s"]]
    many = keys_of([f"grade {i}" for i in range(14)])
    flat = [key for keys in many for key in keys]
    assert all(many)
    assert len(flat) == len(set(flat))
    assert "u" not in flat
    assert keys_of(["ulcer", "normal"]) == [["1"], ["2"]], "u undoes and n moves on"


def test_planes_of_volumes_lie_as_a_radiologist_sees_them(tmp_path: Path) -> None:
    array = np.zeros((6, 5, 4), np.int16)  # x to the right, y to anterior, z to superior
    array[5, 4, 2] = 100  # right, anterior
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "v.nii.gz")
    image = read_image(ImageRef(tmp_path / "v.nii.gz"))
    assert slices(image) == 4
    shown = plane(image, 2)
    assert shown.shape == (5, 6)
    row, column = np.unravel_index(shown.argmax(), shown.shape)
    assert (int(row), int(column)) == (0, 0), "anterior above, the patient's right to the left"
    assert png(shown)[:4] == b"\x89PNG"


def test_masks_drawn_elsewhere_are_found_by_name_and_checked(tmp_path: Path) -> None:
    images, drawn = tmp_path / "images", tmp_path / "drawn"
    refs = {}
    for folder in (images, drawn):
        folder.mkdir()
    for name in ("a", "b", "c"):
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)), images / f"{name}.nii.gz")
        refs[f"case-{name}"] = ImageRef(images / f"{name}.nii.gz")

    def draw(name: str, value: int = 1, spacing: float = 1.0) -> None:
        labels = np.zeros((4, 5, 6), np.uint8)
        labels[1, 1, 1] = value
        nibabel.save(nibabel.Nifti1Image(labels, np.diag([spacing, 1, 1, 1])), drawn / name)

    draw("a_seg.nii.gz")
    draw("case-b.nii.gz")
    draw("stranger.nii.gz")
    found = drawn_masks(drawn, refs, ("background", "lesion"))
    assert {case: path.name for case, path in found.masks.items()} == {
        "case-a": "a_seg.nii.gz",
        "case-b": "case-b.nii.gz",
    }
    assert found.missing == ("case-c",)
    assert [path.name for path in found.others] == ["stranger.nii.gz"]
    draw("c.nii.gz", spacing=2.0)
    with pytest.raises(DataError, match=r"c\.nii\.gz"):
        drawn_masks(drawn, refs, ("background", "lesion"))
    draw("c.nii.gz", value=2)
    with pytest.raises(DataError, match=r"c\.nii\.gz: holds the value 2"):
        drawn_masks(drawn, refs, ("background", "lesion"))
    assert "case-c" in drawn_masks(drawn, refs, ("background", "lesion"), meaning=(("0", 0), ("2", 1), ("1", 1))).masks
    draw("c.nii.gz", value=0)
    with pytest.raises(DataError, match=r"case-c, mask .*c\.nii\.gz: is empty"):
        drawn_masks(drawn, refs, ("background", "lesion"), empty=False)
    draw("c.nii.gz")
    draw("c-mask.nii.gz")
    with pytest.raises(DataError, match="several masks"):
        drawn_masks(drawn, refs, ("background", "lesion"))


def test_a_mask_that_two_images_of_one_name_could_own_is_refused(tmp_path: Path) -> None:
    refs = {}
    for site in ("one", "two", "drawn"):
        (tmp_path / site).mkdir()
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.eye(4)), tmp_path / site / "scan.nii.gz")
        refs[f"case-{site}"] = ImageRef(tmp_path / site / "scan.nii.gz")
    del refs["case-drawn"]
    with pytest.raises(DataError, match="fits two cases, case-one and case-two"):
        drawn_masks(tmp_path / "drawn", refs, ("background", "lesion"))
    (tmp_path / "drawn" / "scan.nii.gz").rename(tmp_path / "drawn" / "case-two_seg.nii.gz")
    assert list(drawn_masks(tmp_path / "drawn", refs, ("background", "lesion")).masks) == ["case-two"]


def test_a_kept_mask_brings_its_pixels_and_its_meaning(tmp_path: Path) -> None:
    for name, content in (("a.mhd", b"ElementDataFile = a.raw"), ("a.raw", b"0120"), ("a.txt.raw", b"other")):
        (tmp_path / name).write_bytes(content)
    first = keep_mask(tmp_path / "a.mhd", tmp_path / "kept")
    assert keep_mask(tmp_path / "a.mhd", tmp_path / "kept") == first
    assert {path.name for path in first.parent.iterdir()} == {"a.mhd", "a.raw"}
    assert kept_mask(first) == ImageRef(first)
    meaning = meaning_of([0, 255])
    second = keep_mask(tmp_path / "a.mhd", tmp_path / "kept", meaning)
    assert second.parent != first.parent
    assert kept_mask(second) == ImageRef(second, classes=meaning)
    (second.parent / "values.json").write_text("[]")
    with pytest.raises(DataError, match="what the values of"):
        kept_mask(second)
    (first).unlink()
    with pytest.raises(DataError, match="no such mask"):
        kept_mask(first)


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("image\na.png\n")
    with pytest.raises(DataError, match="case"):
        read_rows(tmp_path / "x.csv", ("case", "path"))


def test_images_are_handed_out_under_names_that_bring_their_masks_back(tmp_path: Path) -> None:
    arrays = np.random.default_rng(0).integers(0, 255, (3, 9, 8), dtype=np.uint8)
    np.savez(tmp_path / "all.npz", images=arrays)
    rows = [
        {"case": f"all.npz[{i}]", "path": str(tmp_path / "all.npz"), "key": "images", "row": f"{i}"} for i in (0, 2)
    ]
    for site in ("one", "two"):
        (tmp_path / site).mkdir()
        volume = nibabel.Nifti1Image(np.full((4, 5, 6), len(site), np.int16), np.diag([-1, 1, 2, 1]))
        nibabel.save(volume, tmp_path / site / "scan.nii.gz")
        rows.append({"case": f"{site}/scan.nii.gz", "path": str(tmp_path / site / "scan.nii.gz"), "key": "", "row": ""})
    made = hand_out(rows, tmp_path / "out")
    names = ["all.npz[0].png", "all.npz[2].png", "one__scan.nii.gz", "two__scan.nii.gz"]
    assert [path.name for path in made] == names
    assert made[2].read_bytes() == (tmp_path / "one" / "scan.nii.gz").read_bytes()
    np.testing.assert_array_equal(read_image(ImageRef(made[1])).array[0], arrays[2])
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    for path in made[:2]:
        labels = np.zeros((9, 8), np.uint8)
        labels[0, 3] = 1
        Image.fromarray(labels).save(drawn / path.name)
    for path in made[2:]:  # as a drawing program does: labels on the grid of the file that it opened
        shown = nibabel.load(path)
        labels = np.zeros(shown.shape, np.uint8)
        labels[1, 2] = 1
        nibabel.save(nibabel.Nifti1Image(labels, shown.affine), drawn / path.name.replace(".nii", "_seg.nii"))
    taken = take_masks(rows, drawn, tmp_path / "labels.csv", ("background", "lesion"))
    assert taken.new == tuple(row["case"] for row in rows)
    for row in read_rows(tmp_path / "labels.csv", ("case", "mask")):
        mask = read_mask(kept_mask(Path(row["mask"])), onto=image_of(row))
        assert mask.array.sum() > 0
        assert row["row"] == "" or mask.array[0, 0, 3] == 1
