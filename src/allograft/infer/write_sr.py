"""Write classifications as DICOM SR: a measurement report (TID 1500) of the series that they were made from.

Each class is a finding with its probability and whether it was predicted. The file carries the
patient's and the study's identity, copied from the input: without it no archive could file it.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import highdicom as hd
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from allograft.core.atomic import write_bytes
from allograft.core.errors import DataError
from allograft.data.io.dicom_series import read_dataset, series_headers
from allograft.infer.segment_codes import OWN_SCHEME, code_of, own_code
from allograft.infer.write_seg import Algorithm, plain_message, series_number

__all__ = ["RESEARCH", "Finding", "write_sr"]

RESEARCH = (
    "Research output of a neural network, made by a program that is no medical device. "
    "It is not verified by a person and not meant for diagnosis or treatment."
)
"""What stands in every report."""


class Finding(NamedTuple):
    """What was said of one class.

    Attributes:
        name: of the class.
        probability: in [0, 1].
        predicted: whether it is the answer (of several yes/no questions, one of the answers).
    """

    name: str
    probability: float
    predicted: bool


def write_sr(path: Path, findings: Sequence[Finding], *, source: Path, algorithm: Algorithm) -> Path:
    """Write a Comprehensive SR document, partial and unverified.

    Args:
        path: ends in .dcm.
        findings: one for each class.
        source: the DICOM file, or the folder of the series, that was classified.
        algorithm: who made it.

    Returns:
        The path.

    Raises:
        DataError: the source's headers lack what a document must carry.
    """
    files = [file for file, _ in series_headers(source)] if source.is_dir() else [source]
    images = [read_dataset(file, stop_before_pixels=True) for file in files]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # highdicom and pydicom quote values of the source's header
        try:
            document = _document(images, findings, algorithm)
        except (AttributeError, ValueError, TypeError, KeyError) as error:
            msg = (
                f"{source}: its headers do not allow a DICOM report ({type(error).__name__}: {plain_message(error)}). "
                "Take --format csv, or export the images again with their full headers."
            )
            raise DataError(msg) from error
        buffer = io.BytesIO()
        document.save_as(buffer, enforce_file_format=True)
    write_bytes(path, buffer.getvalue())
    return path


def _document(images: list[Any], findings: Sequence[Finding], algorithm: Algorithm) -> Any:
    report = _report(images, findings, algorithm)
    document = hd.sr.ComprehensiveSR(
        evidence=images,
        content=report[0],
        series_instance_uid=generate_uid(prefix=None),
        series_number=series_number(images[0]),
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer="allograft developers",
        is_complete=False,
        is_final=False,
        is_verified=False,
    )
    document.ManufacturerModelName, document.SoftwareVersions = "allograft", algorithm.software
    document.DeviceSerialNumber = "0"
    document.SeriesDescription = f"{algorithm.name[:40]}: research output"
    return document


def _report(images: list[Any], findings: Sequence[Finding], algorithm: Algorithm) -> Any:
    """Return the content: who observed, a group for each class, and what it is good for."""
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(prefix=None),
        name=algorithm.name,
        manufacturer_name="allograft developers",
        model_name="allograft",
    )
    observer = hd.sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[_group(images, finding, algorithm) for finding in findings],
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=images,
    )
    said = hd.sr.TextContentItem(codes.DCM.Comment, RESEARCH, hd.sr.RelationshipTypeValues.CONTAINS)
    report[0].ContentSequence.append(said)
    return report


def _group(images: list[Any], finding: Finding, algorithm: Algorithm) -> Any:
    made_by = hd.sr.AlgorithmIdentification(
        name=algorithm.name, version=algorithm.version, family=codes.DCM.ArtificialIntelligence
    )
    probability = hd.sr.Measurement(
        name=codes.DCM.Probability, value=finding.probability, unit=codes.UCUM.NoUnits, algorithm_id=made_by
    )
    answer = hd.sr.QualitativeEvaluation(
        name=hd.sr.CodedConcept("PREDICTED", OWN_SCHEME, "Predicted by the algorithm"),
        value=codes.SCT.Yes if finding.predicted else codes.SCT.No,
    )
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=generate_uid(prefix=None), identifier=finding.name[:64]),
        finding_type=_concept(finding.name),
        algorithm_id=made_by,
        measurements=[probability],
        qualitative_evaluations=[answer],
        source_images=_source_images(images),
    )


def _source_images(images: list[Any]) -> list[Any] | None:
    """Return the picture that a group is of; of a series all are meant, and stand in the image library."""
    return [hd.sr.SourceImageForMeasurementGroup.from_source_image(images[0])] if len(images) == 1 else None


def _concept(name: str) -> Any:
    """Return the code of a class: SNOMED CT's where the name says no side and is known, else our own."""
    found = code_of(name)
    if found.type and not found.side:
        return getattr(codes.SCT, found.type)
    return hd.sr.CodedConcept(own_code(name), OWN_SCHEME, name[:64] or own_code(name))
