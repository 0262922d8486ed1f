"""A stand-in for API Gateway on loopback: HTTP in, REST proxy events to a Lambda handler, HTTP out.

Unlike the real one it also serves `/files/…`: the images of a local folder, which have no signed URL. It answers only
to its own name, so that a page elsewhere on the web can't reach a person's photos by rebinding its DNS name.
"""

import base64
import errno
import mimetypes
import socket
import threading
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from werkzeug.datastructures import Headers
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from imagesearch.api.errors import ErrorAnswer, ErrorDetail
from imagesearch.errors import InvalidImage, InvalidInput
from imagesearch.images import jpeg_thumbnail, open_image
from local.context import Handler, LambdaContext

MAX_BODY_BYTES = 10_000_000
"""API Gateway's limit of a request: https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"""
PREVIEW_SIZE = 640
"""Longer side, in pixels, of the preview of an image that is large or that browsers don't show."""
PREVIEW_ABOVE_BYTES = 400_000
KEYLESS = {("GET", "/"), ("GET", "/openapi.json")}
"""Requests that need no API key, as in template.yaml. Preflights don't either."""
BROWSER_TYPES = {"image/jpeg", "image/png", "image/webp", "image/gif", "image/avif", "image/bmp"}


class _QuietHandler(WSGIRequestHandler):
    """Writes no line a request: the person at the terminal waits for one address."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class Gateway:
    """Serves `handler` at `url` until closed; `files` is the folder below which `/files/…` may serve images.

    `stage` puts everything below `/<stage>`, as API Gateway does unless it has a domain of its own. With `api_key`,
    requests need it in their header x-api-key, as those to the deployed API do; files don't.

    Raises:
        InvalidInput: the port is taken, or this user may not use it.
    """

    def __init__(
        self, handler: Handler, port: int = 0, files: Path | None = None, stage: str = "", api_key: str | None = None
    ) -> None:
        self._handler = handler
        self._files = files.resolve() if files else None
        self._prefix = f"/{stage}" if stage else ""
        self._api_key = api_key
        self._one_at_a_time = threading.Lock()  # as Lambda calls an instance; Powertools relies on it
        with _listen(port) as listener:
            port = listener.getsockname()[1]
            # werkzeug takes a copy of the socket. To a port that is taken, its own answer is to end the process.
            self._server = make_server(
                "127.0.0.1",
                port,
                self._application,
                threaded=True,
                request_handler=_QuietHandler,
                fd=listener.fileno(),
            )
        self._thread = threading.Thread(target=self._server.serve_forever, name="gateway", daemon=True)
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        self.url = f"http://127.0.0.1:{port}{self._prefix}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _application(self, environ: dict[str, Any], start_response: Any) -> Any:
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> Response:
        # The path as it was sent: werkzeug's own is decoded, and a REST API's event has it encoded.
        path = request.environ["REQUEST_URI"].partition("?")[0]
        if request.host not in self._hosts:
            return _error(403, "forbidden", f"this server is {self.url}")
        if not f"{path}/".startswith(f"{self._prefix}/"):
            return _error(403, "forbidden", "Missing Authentication Token")  # API Gateway's words for an unknown route
        path = path.removeprefix(self._prefix) or "/"
        if path.startswith("/files/"):
            return self._file(unquote(path.removeprefix("/files")))
        if (request.content_length or 0) > MAX_BODY_BYTES:
            return _error(413, "too_large", "the request is too large: a picture may have some 4 MB")
        if self._api_key and not self._may_pass(request, path):
            return _error(403, "no_key", "send a valid API key in the header x-api-key")
        event = _event(request, path, self._prefix)
        with self._one_at_a_time:
            answer = self._handler(event, LambdaContext("query"))
        return _response(answer)

    def _may_pass(self, request: Request, path: str) -> bool:
        keyless = request.method == "OPTIONS" or (request.method, path) in KEYLESS
        return keyless or request.headers.get("x-api-key") == self._api_key

    def _file(self, name: str) -> Response:
        path = Path(name).resolve()
        if not self._files or not path.is_relative_to(self._files) or not path.is_file():
            return _error(404, "not_found", "no such image")
        kind = mimetypes.guess_type(path.name)[0]
        if kind in BROWSER_TYPES and path.stat().st_size <= PREVIEW_ABOVE_BYTES:
            return Response(path.read_bytes(), mimetype=kind, headers=_FILE_HEADERS)
        try:
            preview = jpeg_thumbnail(open_image(path, target=PREVIEW_SIZE).image, PREVIEW_SIZE)
        except InvalidImage as error:
            return _error(415, error.code, str(error))
        return Response(preview, mimetype="image/jpeg", headers=_FILE_HEADERS)


_FILE_HEADERS = {"cache-control": "private, max-age=3600", "x-content-type-options": "nosniff"}


def _error(status: int, code: str, message: str) -> Response:
    body = ErrorAnswer(error=ErrorDetail(code=code, message=message, field=None)).model_dump_json(exclude_none=True)
    return Response(body, status=status, mimetype="application/json")


def _listen(port: int) -> socket.socket:
    """A socket that listens on `port` of loopback.

    Raises:
        InvalidInput: the port is taken, or this user may not use it.
    """
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        why = "is taken" if error.errno == errno.EADDRINUSE else f"can't be used ({error.strerror})"
        raise InvalidInput(f"port {port} {why}; give another one with --port", "port") from error


def _event(request: Request, path: str, prefix: str) -> dict[str, Any]:
    """The proxy event that a REST API makes of a request.

    https://docs.aws.amazon.com/lambda/latest/dg/services-apigateway.html#apigateway-example-event
    """
    query = request.args.to_dict(flat=False)
    headers = {name: request.headers.getlist(name) for name in request.headers.keys()}  # noqa: SIM118
    data = request.get_data()
    try:
        body, is_base64 = data.decode("utf-8"), False
    except UnicodeDecodeError:
        body, is_base64 = base64.b64encode(data).decode("ascii"), True
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": request.method,
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": {"proxy": path.removeprefix("/")},
        "stageVariables": None,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "httpMethod": request.method,
            "identity": {
                "sourceIp": request.remote_addr or "127.0.0.1",
                "userAgent": request.headers.get("user-agent"),
            },
            "path": prefix + path,
            "protocol": "HTTP/1.1",
            "requestId": str(uuid.uuid4()),
            "resourcePath": "/{proxy+}",
            "stage": prefix.removeprefix("/") or "local",
        },
        "body": body or None,
        "isBase64Encoded": is_base64,
    }


def _response(answer: dict[str, Any]) -> Response:
    headers = Headers(answer.get("headers") or {})
    for name, values in (answer.get("multiValueHeaders") or {}).items():
        headers.setlist(name, values)
    body = answer.get("body") or ""
    data = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    return Response(data, status=answer["statusCode"], headers=headers)
