"""DICOM SR of classifications: judged by dciodvfy, read back by highdicom and pydicom."""

from __future__ import annotations

import shutil
import subprocess

import highdicom as hd
import pydicom
import pytest
from pydicom.sr.codedict import codes

from allograft.core.errors import DataError
from allograft.infer.segment_codes import own_code
from allograft.infer.write_seg import Algorithm
from allograft.infer.write_sr import RESEARCH, Finding, write_sr
from real_series import REAL, write_series

pytestmark = pytest.mark.filterwarnings("ignore")
ALGORITHM = Algorithm(name="mean_var", version="3 networks 0123456789abcdef", software="0.1")
PREDICTED = hd.sr.CodedConcept("PREDICTED", "99ALLOGRAFT", "Predicted by the algorithm")
FINDINGS = (
    Finding("normal", 1 / 3, False),
    Finding("adenocarcinoma in situ", 0.6000000001, True),
    Finding("adenocarcinoma invasive", 1e-7, False),
    Finding("lesion", 0.0, False),
)


def errors_of(path):
    run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("base", ["CT_small", "MR_small"])
@pytest.mark.parametrize("whole", [False, True], ids=["file", "series"])
def test_values_read_back_equal(tmp_path, base, whole):
    source = write_series(tmp_path / "s", base=base) if whole else REAL / f"{base}.dcm"
    path = write_sr(tmp_path / "sr.dcm", FINDINGS, source=source, algorithm=ALGORITHM)
    document = hd.sr.srread(path)
    groups = document.content.get_image_measurement_groups()
    assert [group.finding_type.value for group in groups] == [
        "NORMAL", own_code("adenocarcinoma in situ"), own_code("adenocarcinoma invasive"), codes.SCT.Lesion.value,
    ]  # fmt: skip
    assert [group.tracking_identifier for group in groups] == [f.name for f in FINDINGS]
    for group, finding in zip(groups, FINDINGS, strict=True):
        [measured] = group.get_measurements(name=codes.DCM.Probability)
        assert float(measured.value) == pytest.approx(finding.probability, rel=1e-9)
        [answer] = group.get_qualitative_evaluations(name=PREDICTED)
        assert (answer.value == codes.SCT.Yes) == finding.predicted
    data, first = pydicom.dcmread(path), pydicom.dcmread(source if not whole else next(source.iterdir()))
    assert (data.PatientID, data.StudyInstanceUID) == (first.PatientID, first.StudyInstanceUID)
    assert data.SeriesInstanceUID != first.SeriesInstanceUID
    assert (data.CompletionFlag, data.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
    [evidence] = data.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert len(evidence.ReferencedSOPSequence) == (5 if whole else 1)
    texts = [item.TextValue for item in data.ContentSequence if item.ValueType == "TEXT"]
    assert RESEARCH in texts
    assert "research" in data.SeriesDescription
    assert {ALGORITHM.name, ALGORITHM.version} <= {str(e.value) for e in data.iterall() if e.keyword == "TextValue"}


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian package dicom3tools) is not installed")
@pytest.mark.parametrize("base", ["CT_small", "MR_small", "examples_rgb_color", "examples_palette"])
def test_dciodvfy_finds_no_error_in_reports(tmp_path, base):
    path = write_sr(tmp_path / "sr.dcm", FINDINGS, source=REAL / f"{base}.dcm", algorithm=ALGORITHM)
    assert errors_of(path) == []
    data = pydicom.dcmread(path)
    del data.CompletionFlag
    data.save_as(tmp_path / "broken.dcm")
    assert errors_of(tmp_path / "broken.dcm")  # the judge can say no


def test_headers_that_allow_no_report_are_named(tmp_path):
    source = tmp_path / "anonymous.dcm"
    data = pydicom.dcmread(REAL / "CT_small.dcm")
    del data.PatientID
    data.save_as(source)
    with pytest.raises(DataError, match=r"anonymous\.dcm: its headers do not allow a DICOM report.*PatientID"):
        write_sr(tmp_path / "sr.dcm", FINDINGS, source=source, algorithm=ALGORITHM)
    assert not (tmp_path / "sr.dcm").exists()


def test_codes_fit_and_differ():
    names = ["zone 7", "adenocarcinoma in situ", "adenocarcinoma invasive", "é", "ß" * 40, ""]
    values = [own_code(name) for name in names]
    assert len(set(values)) == len(names)
    assert all(0 < len(value) <= 16 for value in values)
