"""Events for the query function as API Gateway makes them, and what is answered."""

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from functions.query import app
from local.context import LambdaContext

CONTEXT = LambdaContext("query")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str
    body: Any = field(init=False)

    def __post_init__(self) -> None:
        is_json = self.headers.get("Content-Type", "").startswith("application/json")
        self.body = json.loads(self.text) if is_json else None

    @property
    def titles(self) -> list[str]:
        assert self.status == 200, self.body
        return [hit["title"] for hit in self.body["hits"]]

    @property
    def problem(self) -> tuple[int, str, str | None]:
        """Status, code and field of an error."""
        assert self.body.keys() == {"error"}
        return self.status, self.body["error"]["code"], self.body["error"].get("field")


def event(
    method: str,
    path: str,
    query: Mapping[str, str | list[str]] | None = None,
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
    stage: str = "",
) -> dict[str, Any]:
    """An event of a REST API with proxy integration; `path` as it is sent, percent-encoded."""
    parameters = {name: [value] if isinstance(value, str) else value for name, value in (query or {}).items()}
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": dict(headers or {}) or None,
        "multiValueHeaders": {name: [value] for name, value in (headers or {}).items()} or None,
        "queryStringParameters": {name: values[-1] for name, values in parameters.items()} or None,
        "multiValueQueryStringParameters": parameters or None,
        "pathParameters": {"proxy": path.removeprefix("/")},
        "stageVariables": None,
        "requestContext": {"path": stage + path, "stage": stage.removeprefix("/"), "requestId": "request-1"},
        "body": body,
        "isBase64Encoded": False,
    }


def invoke(event: dict[str, Any]) -> Answer:
    answer = app.lambda_handler(event, CONTEXT)
    json.dumps(answer)  # Lambda must be able to send it
    headers = {name: ", ".join(values) for name, values in answer["multiValueHeaders"].items()}
    return Answer(answer["statusCode"], headers, answer["body"])


def get(path: str, **query: str | list[str]) -> Answer:
    return invoke(event("GET", path, query))


def post(body: object, path: str = "/search", **changes: object) -> Answer:
    text = body if isinstance(body, str) else json.dumps(body)
    return invoke({**event("POST", path, body=text, headers={"Content-Type": "application/json"}), **changes})


def encoded(image: Image.Image, format: str = "png") -> str:
    buffer = io.BytesIO()
    image.save(buffer, format)
    return base64.b64encode(buffer.getvalue()).decode()


BLUE = encoded(Image.new("RGB", (20, 10), "blue"))
