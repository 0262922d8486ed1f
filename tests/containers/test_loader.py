"""The loader as it is deployed: its folder and the built layer, in what Lambda runs zip functions in."""

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.images import open_image
from imagesearch.index.base import Upsert, VectorIndex
from imagesearch.parts import Part, part_key, write_part
from imagesearch.records import ImageMetadata

RUN = "20250101T000000000Z"


@pytest.fixture(scope="module")
def part(aws: Any, tiny_model: Path, photos: Path) -> str:
    """Key of a part with one picture, in the bucket `parts`."""
    encoder = OnnxEncoder(tiny_model)
    vector = encoder.encode_images([open_image((photos / "rose.webp").read_bytes()).image])[0]
    action = Upsert("rose.webp", 1, vector, ImageMetadata(uri="s3://photos/rose.webp"))
    key = part_key(encoder.info.fingerprint, RUN, 0)
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="parts")
    body = write_part(Part(encoder.info.fingerprint, encoder.info.embed_dim, RUN, [action]))
    s3.put_object(Bucket="parts", Key=key, Body=body)
    s3.put_object(Bucket="parts", Key=key.replace("00000", "00001"), Body=b"PAR1 damaged PAR1")
    return key


def message(identifier: str, key: str) -> dict[str, Any]:
    """A record of SQS that has S3's notice of an object in it."""
    entity = {"bucket": {"name": "parts"}, "object": {"key": key}}
    notice = {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": entity}]}
    return {"messageId": identifier, "eventSource": "aws:sqs", "body": json.dumps(notice)}


def test_it_indexes_a_part_and_hands_back_the_message_of_a_damaged_one(
    loader: Any, part: str, index: VectorIndex
) -> None:
    records = [message("good", part), message("damaged", part.replace("00000", "00001"))]
    answer = loader({"Records": records})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "damaged"}]}
    index.refresh()
    assert list(index.get(["rose.webp"])) == ["rose.webp"]
    assert index.count() == 1


def test_a_message_that_comes_twice_changes_nothing(loader: Any, part: str, index: VectorIndex) -> None:
    assert loader({"Records": [message("again", part)]}) == {"batchItemFailures": []}
    index.refresh()
    assert index.count() == 1
