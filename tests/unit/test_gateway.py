"""The stand-in for API Gateway: what a handler is given, what a client gets, and who is turned away."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import urllib3
from PIL import Image

from imagesearch.errors import InvalidInput
from local.gateway import MAX_BODY_BYTES, Gateway

http = urllib3.PoolManager(retries=False)


def echo(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return {
        "statusCode": 201,
        "headers": {"content-type": "application/json"},
        "multiValueHeaders": {"x-many": ["1", "2"]},
        "body": json.dumps(event | {"function": context.function_name}),
    }


def test_a_handler_sees_the_path_as_it_was_sent_and_the_query_decoded() -> None:
    with Gateway(echo) as gateway:
        answer = http.request("GET", gateway.url + "/images/a%2Fb%20c+d.jpg?q=two%20dogs&tag=a&tag=b")
    event = answer.json()
    assert answer.status == 201
    assert answer.headers.getlist("x-many") == ["1", "2"]
    assert event["path"] == "/images/a%2Fb%20c+d.jpg"
    assert event["queryStringParameters"] == {"q": "two dogs", "tag": "b"}
    assert event["multiValueQueryStringParameters"]["tag"] == ["a", "b"]
    assert event["function"] == "query"


def test_a_stage_prefixes_the_url_and_is_not_part_of_the_path() -> None:
    with Gateway(echo, stage="prod") as gateway:
        assert gateway.url.endswith("/prod")
        assert http.request("GET", gateway.url + "/health").json()["path"] == "/health"
        assert http.request("GET", gateway.url.removesuffix("/prod") + "/health").status == 403


def test_text_bodies_arrive_as_text_and_binary_ones_as_base64() -> None:
    with Gateway(echo) as gateway:
        text = http.request("POST", gateway.url + "/search", body=b"{}").json()
        binary = http.request("POST", gateway.url + "/search", body=b"\xff\xd8\xff").json()
    assert (text["body"], text["isBase64Encoded"]) == ("{}", False)
    assert (base64.b64decode(binary["body"]), binary["isBase64Encoded"]) == (b"\xff\xd8\xff", True)


def test_a_binary_answer_is_decoded() -> None:
    def picture(_event: dict[str, Any], _context: Any) -> dict[str, Any]:
        return {"statusCode": 200, "body": base64.b64encode(b"\x00\xff").decode(), "isBase64Encoded": True}

    with Gateway(picture) as gateway:
        assert http.request("GET", gateway.url).data == b"\x00\xff"


def test_a_request_under_another_host_name_is_refused() -> None:
    with Gateway(echo) as gateway:
        answer = http.request("GET", gateway.url, headers={"host": "photos.example.com"})
    assert answer.status == 403


def test_a_body_beyond_the_limit_of_api_gateway_is_refused() -> None:
    with Gateway(echo) as gateway:
        answer = http.request("POST", gateway.url, body=b" " * (MAX_BODY_BYTES + 1))
    assert answer.status == 413


@pytest.mark.parametrize("stage", ["", "prod"])
def test_with_an_api_key_all_but_the_page_the_document_and_preflights_need_it(stage: str) -> None:
    with Gateway(echo, stage=stage, api_key="open-sesame") as gateway:

        def status(method: str, path: str, key: str | None = None) -> int:
            return http.request(method, gateway.url + path, headers={"x-api-key": key} if key else {}).status

        assert status("GET", "/health") == status("POST", "/") == status("GET", "/health", "open-barley") == 403
        assert status("GET", "/health", "open-sesame") == 201
        assert status("GET", "/") == status("GET", "/openapi.json") == status("OPTIONS", "/search") == 201
        refused = http.request("GET", gateway.url + "/health").json()["error"]
        assert refused == {"code": "no_key", "message": "send a valid API key in the header x-api-key"}


def test_a_port_that_is_taken_is_said_and_left_to_its_owner() -> None:
    with Gateway(echo) as gateway:
        port = int(gateway.url.rpartition(":")[2])
        with pytest.raises(InvalidInput, match=f"port {port} is taken; give another one with --port"):
            Gateway(echo, port)
        assert http.request("GET", gateway.url).status == 201
    with Gateway(echo, port) as again:
        assert http.request("GET", again.url).status == 201


def test_files_of_the_folder_are_served_and_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    folder.mkdir()
    Image.new("RGB", (8, 8), "red").save(folder / "ä b.png")
    (tmp_path / "secret.png").write_bytes(b"secret")
    with Gateway(echo, files=folder) as gateway:
        base = gateway.url + "/files"
        served = http.request("GET", f"{base}{(folder / 'ä b.png').as_posix()}")
        outside = http.request("GET", f"{base}{(tmp_path / 'secret.png').as_posix()}")
        climbing = http.request("GET", f"{base}{folder.as_posix()}/%2e%2e/secret.png")
        missing = http.request("GET", f"{base}{folder.as_posix()}/none.png")
    assert (served.status, served.headers["content-type"]) == (200, "image/png")
    assert served.data == (folder / "ä b.png").read_bytes()
    assert [outside.status, climbing.status, missing.status] == [404, 404, 404]


@pytest.mark.parametrize("name", ["photo.tiff", "large.png"])
def test_what_browsers_do_not_show_or_is_large_is_served_as_a_preview(tmp_path: Path, name: str) -> None:
    Image.effect_noise((1200, 900), 80).convert("RGB").save(tmp_path / name)
    with Gateway(echo, files=tmp_path) as gateway:
        answer = http.request("GET", f"{gateway.url}/files{(tmp_path / name).as_posix()}")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")


def test_a_file_that_is_no_image_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("private")
    with Gateway(echo, files=tmp_path) as gateway:
        assert http.request("GET", f"{gateway.url}/files{tmp_path.as_posix()}/notes.txt").status == 415
