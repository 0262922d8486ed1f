"""The OpenAPI document by itself: valid, whole, up to date, and at one with what API Gateway answers."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from functions.query.app import openapi_document
from imagesearch.api import MAX_K

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = json.loads(openapi_document("/"))
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def examples_of(schema: dict[str, Any]) -> Any:
    return [examples_of(schema["items"])] if schema.get("type") == "array" else resolved(schema)["examples"]


def contents(message: dict[str, Any]) -> dict[str, Any]:
    return message["content"]["application/json"]


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_the_committed_document_is_up_to_date() -> None:
    assert (ROOT / "docs" / "openapi.json").read_text("utf-8") == openapi_document("/"), "run: make openapi"


def test_the_document_has_every_route() -> None:
    assert set(OPERATIONS) == {
        "POST /search",
        "GET /search",
        "POST /search/batch",
        "POST /knn-service",
        "GET /images/{id}",
        "GET /images/{id}/similar",
        "GET /health",
    }
    assert DOCUMENT["components"]["securitySchemes"]["apiKey"]["name"] == "x-api-key"
    assert DOCUMENT["security"] == [{"apiKey": []}]
    assert DOCUMENT["components"]["schemas"]["SearchRequest"]["properties"]["k"]["maximum"] == MAX_K


def test_names_of_operations_are_for_people_and_different() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len({*names}) == len(names)
    assert all(name.isidentifier() and "_" not in name for name in names)


@each_operation
def test_an_operation_is_described_and_belongs_to_a_group(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    (tag,) = operation["tags"]
    assert tag in {one["name"] for one in DOCUMENT["tags"]}
    for parameter in operation.get("parameters", []):
        assert parameter.get("description") or parameter["schema"]["description"]


@each_operation
def test_every_answer_is_described_and_has_an_example_that_fits(operation: dict[str, Any]) -> None:
    assert {"200", "403", "429", "500", "503", "504"} <= operation["responses"].keys()
    for status, answer in operation["responses"].items():
        assert answer["description"]
        content = contents(answer)
        if status not in ("200", "503"):
            assert content["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}
        examples = [one["value"] for one in content.get("examples", {}).values()]
        examples = examples or examples_of(content["schema"])
        validator = Draft202012Validator({**content["schema"], "components": DOCUMENT["components"]})
        for example in examples:
            validator.validate(example)


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name.startswith("POST")])
def test_every_example_of_a_request_fits(operation: str) -> None:
    schema = contents(OPERATIONS[operation]["requestBody"])["schema"]
    validator = Draft202012Validator({**schema, "components": DOCUMENT["components"]})
    examples = resolved(schema)["examples"]
    assert examples
    for example in examples:
        validator.validate(example)


@pytest.mark.parametrize(
    ("request_", "fits"),
    [
        ({"text": "red"}, True),
        ({"text": "red", "id": None}, True),
        ({"text": "red", "id": "a"}, False),
        ({"text": None}, False),
        ({"k": 3}, False),
        ({"text": " \n"}, False),
        ({"terms": [{"text": "red"}, {"id": "a", "weight": -0.5}]}, True),
        ({"terms": []}, False),
        ({"terms": [{"text": "red", "id": "a"}]}, False),
        ({"terms": [{"text": "red", "weight": 0}]}, False),
        ({"terms": [{"text": "red", "weight": 1e9}]}, False),
        ({"terms": [{"text": "red"}], "text": "blue"}, False),
        ({"query": "red -blue"}, True),
        ({"like": ["a"]}, True),
        ({"like": []}, False),
        ({"unlike": ["a"]}, False),
        ({"text": "red", "like": ["a"], "unlike": ["b"]}, True),
        ({"cursor": "abc"}, True),
        ({"cursor": "abc", "k": 5}, True),
        ({"cursor": "abc", "text": "red"}, False),
        ({"cursor": "abc", "offset": 20}, False),
        ({"cursor": "abc", "facets": ["tags"]}, False),
        ({"text": "red", "facets": ["colour"]}, False),
        ({"text": "red", "min_confidence": 1.5}, False),
        ({"text": "red", "match": "sounds"}, False),
    ],
)
def test_the_document_knows_that_a_search_is_by_exactly_one_thing(request_: dict[str, Any], fits: bool) -> None:
    schema = {"$ref": "#/components/schemas/SearchRequest", "components": DOCUMENT["components"]}
    assert Draft202012Validator(schema).is_valid(request_) == fits


class Template(yaml.SafeLoader):
    """Reads a template of CloudFormation, whose tags don't matter here."""


Template.add_multi_constructor("!", lambda loader, tag, node: None)


def test_what_api_gateway_answers_itself_is_in_the_document_word_by_word() -> None:
    template = yaml.load((ROOT / "template.yaml").read_text("utf-8"), Template)
    responses = template["Resources"]["SearchApi"]["Properties"]["GatewayResponses"]
    answers = OPERATIONS["POST /search"]["responses"]
    for kind in ("INVALID_API_KEY", "THROTTLED", "QUOTA_EXCEEDED", "REQUEST_TOO_LARGE", "INTEGRATION_TIMEOUT"):
        said = json.loads(responses[kind]["ResponseTemplates"]["application/json"])
        examples = contents(answers[str(responses[kind]["StatusCode"])])["examples"]
        assert said in [example["value"] for example in examples.values()], kind
