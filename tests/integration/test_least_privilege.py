"""The code under the roles that template.yaml gives it: what it needs is allowed, nothing else is.

moto enforces the policies on S3, SQS and STS, a proxy those on OpenSearch. Each flow is also run without one statement
of its role after another, and must fail: so no statement is there for nothing, and a missing one would be noticed.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import numpy as np
import pytest
import urllib3
import yaml
from botocore.exceptions import ClientError
from moto.iam.access_control import IAMPolicy, PermissionResult
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from batch.cli import main
from batch.plan import read_plans
from functions.loader import app as loader
from functions.query import app as query
from imagesearch import links
from imagesearch.index import open_index
from imagesearch.index.base import Upsert
from imagesearch.parts import Part, part_key, read_part, write_part
from imagesearch.records import ImageMetadata
from imagesearch.settings import get_settings
from imagesearch.statistics import CollectionStatistics, statistics_key
from imagesearch.storage import S3Storage
from local.aws import REGION, Aws, Bucket, Queue
from local.context import LambdaContext

Json = Any

MODEL = Path(__file__).parents[2] / "models" / "tiny"
FINGERPRINT: str = json.loads((MODEL / "model.json").read_text())["fingerprint"]
DIM: int = json.loads((MODEL / "model.json").read_text())["embed_dim"]
ACCOUNT = "123456789012"  # moto's
DOMAIN = f"arn:aws:es:{REGION}:{ACCOUNT}:domain/images"
PHOTOS, VECTORS = "photos", "image-search-vectors"

# --- The policies, as CloudFormation would make them with all parameters left as they are ---


class Loader(yaml.SafeLoader):
    """Reads `!Sub x` as `("Sub", x)`."""


def _tagged(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> tuple[str, Json]:
    if isinstance(node, yaml.ScalarNode):
        return tag, loader.construct_scalar(node)
    return tag, loader.construct_sequence(node, deep=True)  # type: ignore[arg-type]  # no short form takes a mapping


Loader.add_multi_constructor("!", _tagged)

TEMPLATE: Json = yaml.load((Path(__file__).parents[2] / "template.yaml").read_text(), Loader)
LOGS = ("LoaderLogs", "QueryLogs", "IngestLogs")
VALUES = {
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::StackName": "image-search",
    "PhotosBucket": PHOTOS,
    "VectorsBucket.Arn": f"arn:aws:s3:::{VECTORS}",
    "PartsQueue.Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:parts",
    "SearchDomain.Arn": DOMAIN,
    **{f"{name}.Arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}:*" for name in LOGS},
    "FargateQueue": f"arn:aws:batch:{REGION}:{ACCOUNT}:job-queue/fargate",
    "GpuQueue": f"arn:aws:batch:{REGION}:{ACCOUNT}:job-queue/gpu",
}
CHOSEN = {"CreatePhotosBucket", "CreateDomain", "EncodeOnGpu"}


def resolved(node: Json) -> Json:
    match node:
        case "Ref", "AWS::NoValue":
            return None
        case "Ref" | "GetAtt", name:
            return VALUES[name]
        case "If", [condition, yes, no]:
            return resolved(yes if condition in CHOSEN else no)
        case "Sub", [text, places]:
            return substituted(text, VALUES | resolved(places))
        case "Sub", text:
            return substituted(text, VALUES)
        case dict():
            values = {key: resolved(value) for key, value in node.items()}
            return {key: value for key, value in values.items() if value is not None}
        case list():
            return [value for value in map(resolved, node) if value is not None]
    return node


def substituted(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\$\{([^}]+)\}", lambda place: values[place[1]], text)


def statements_of(role: str) -> dict[str, Json]:
    """The statements of a role by their Sid."""
    resources = TEMPLATE["Resources"]
    documents = [policy["PolicyDocument"] for policy in resources[role]["Properties"]["Policies"]]
    for resource in resources.values():
        if resource["Type"] == "AWS::IAM::RolePolicy" and resource["Properties"]["RoleName"] == ("Ref", role):
            documents.append(resource["Properties"]["PolicyDocument"])
    return {statement["Sid"]: statement for document in documents for statement in resolved(document["Statement"])}


def document(statements: dict[str, Json]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements.values())})


def allows(role: str, action: str, resource: str) -> bool:
    return IAMPolicy(document(statements_of(role))).is_action_permitted(action, resource) is PermissionResult.PERMITTED


# --- The world ---


@dataclass
class SearchDomain:
    """OpenSearch behind the policy of a role, as OpenSearch Service checks it: by method and path.

    https://docs.aws.amazon.com/opensearch-service/latest/developerguide/ac.html
    """

    url: str
    policy: str = ""
    refused: list[str] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        path = environ["REQUEST_URI"]
        action = f"es:ESHttp{request.method.title()}"
        resource = f"{DOMAIN}{path.partition('?')[0]}"
        if IAMPolicy(self.policy).is_action_permitted(action, resource) is not PermissionResult.PERMITTED:
            self.refused.append(f"{action} {resource}")
            return Response('{"Message":"not authorized"}', 403, mimetype="application/json")(environ, start_response)
        headers = {"Content-Type": request.content_type or "application/json"}
        answer = urllib3.request(
            request.method, self.url + path, body=request.get_data(), headers=headers, retries=False
        )
        return Response(answer.data, answer.status, mimetype="application/json")(environ, start_response)


@dataclass
class World:
    """Buckets, the queue and the domain; `acting_as` puts on a role, less the statement `without`."""

    endpoint: str
    domain: SearchDomain
    queue: Queue
    without: str = ""

    @contextmanager
    def acting_as(self, role: str) -> Iterator[None]:
        policy = document({sid: one for sid, one in statements_of(role).items() if sid != self.without})
        iam = boto3.client("iam")
        trust = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
        }
        arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        iam.put_role_policy(RoleName=role, PolicyName="all", PolicyDocument=policy)
        session = boto3.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        self.domain.policy, self.domain.refused = policy, []
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("AWS_ACCESS_KEY_ID", session["AccessKeyId"])
            environment.setenv("AWS_SECRET_ACCESS_KEY", session["SecretAccessKey"])
            environment.setenv("AWS_SESSION_TOKEN", session["SessionToken"])
            forget_credentials()
            self._enforce("0")
            try:
                yield
            finally:
                self._enforce("inf")
        forget_credentials()
        iam.delete_role_policy(RoleName=role, PolicyName="all")
        iam.delete_role(RoleName=role)

    def _enforce(self, after: str) -> None:
        """Have moto check who may do what, after so many requests."""
        assert urllib3.request("POST", f"{self.endpoint}/moto-api/reset-auth", body=after).status == 200

    def part(self, shard: int, vector: np.ndarray[Any, Any]) -> str:
        """Put a part of one photo, as an administrator."""
        photo = Upsert(f"{shard}.webp", 1, vector.astype(np.float32), ImageMetadata(uri=f"s3://{PHOTOS}/{shard}.webp"))
        key = part_key(FINGERPRINT, "r", shard)
        S3Storage(VECTORS).write(key, write_part(Part(FINGERPRINT, DIM, "r", [photo])))
        return key

    def objects(self, bucket: str, prefix: str = "") -> set[str]:
        return {found.key for found in S3Storage(bucket).list(prefix)}


def forget_credentials() -> None:
    boto3.DEFAULT_SESSION = None
    links.aws_session.cache_clear()
    links._client.cache_clear()
    links._bucket_url.cache_clear()
    get_settings.cache_clear()
    query.service.cache_clear()
    loader.open_index.cache_clear()


@pytest.fixture(scope="module")
def domain(opensearch_url: str) -> Iterator[tuple[SearchDomain, str]]:
    """The domain, and the URL of it that heeds its policy."""
    domain = SearchDomain(opensearch_url)
    server = make_server("127.0.0.1", 0, domain, threaded=True)
    Thread(target=server.serve_forever, daemon=True).start()
    yield domain, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def services() -> Iterator[Aws]:
    with Aws() as services:
        yield services


@pytest.fixture
def world(
    services: Aws, domain: tuple[SearchDomain, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    urllib3.request("POST", f"{services.endpoint}/moto-api/reset")
    Bucket(PHOTOS, tmp_path / "p")
    bucket, queue = Bucket(VECTORS, tmp_path / "v"), Queue("parts")
    bucket.notify(queue, "vectors/", ".parquet")
    index = open_index(domain[0].url, FINGERPRINT, DIM)
    index.drop()
    monkeypatch.setenv("IMAGESEARCH_INDEX_URL", domain[1])
    monkeypatch.setenv("IMAGESEARCH_MODEL", str(MODEL))
    monkeypatch.setenv("IMAGESEARCH_VECTORS_URL", f"s3://{VECTORS}")
    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
    forget_credentials()
    for name in ("cat", "pizza"):
        S3Storage(PHOTOS).write(f"{name}.webp", (MODEL / "photos" / f"{name}.webp").read_bytes())
    S3Storage(PHOTOS).write("table.csv", f"path\ns3://{PHOTOS}/cat.webp\n".encode())
    yield World(services.endpoint, domain[0], queue)
    forget_credentials()
    index.drop()


# --- What each part of the system does, and whether it could ---


def load(world: World) -> bool:
    """As Lambda's poller and the loader: take messages, load parts, keep what was rejected, delete the messages."""
    world.part(0, np.eye(1, DIM)[0])
    world.part(1, np.zeros(DIM))  # no index takes a vector of zeros
    with world.acting_as("LoaderRole"):
        sqs = boto3.client("sqs")
        sqs.get_queue_attributes(QueueUrl=world.queue.url, AttributeNames=["All"])
        messages = sqs.receive_message(QueueUrl=world.queue.url, MaxNumberOfMessages=10)["Messages"]
        records: list[Json] = [
            {"messageId": one["MessageId"], "body": one["Body"], "eventSource": "aws:sqs", "attributes": {}}
            for one in messages
        ]
        answer = loader.lambda_handler({"Records": records}, LambdaContext("loader"))
        for one in messages:
            sqs.delete_message(QueueUrl=world.queue.url, ReceiptHandle=one["ReceiptHandle"])
    kept = world.objects(VECTORS, "runs/r/rejected/")
    return answer["batchItemFailures"] == [] and kept == {"runs/r/rejected/00001.jsonl"} and not world.queue.pending()


def search(world: World) -> bool:
    """As the query function: search by words and by id, say how sure it is and how it goes, and sign a URL."""
    index = open_index(world.domain.url, FINGERPRINT, DIM)
    index.create()
    index.bulk([Upsert("cat", 1, np.eye(1, DIM, dtype=np.float32)[0], ImageMetadata(uri=f"s3://{PHOTOS}/cat.webp"))])
    index.refresh()
    statistics = CollectionStatistics(10, np.zeros(DIM, dtype=np.float32), np.eye(DIM, dtype=np.float32))
    S3Storage(VECTORS).write(statistics_key(FINGERPRINT), statistics.to_bytes())
    with world.acting_as("QueryRole"):
        answers = [get("/search", q="a cat"), get("/images/cat/similar"), get("/images/cat"), get("/health")]
        hit = answers[0][1]["hits"][0] if answers[0][0] == 200 else {"url": "", "confidence": None}
        # The URL lets whoever has it do what the role may. moto can't check one, so the role itself does it here.
        photo = boto3.client("s3").get_object(Bucket=PHOTOS, Key="cat.webp")
    url = hit["url"]
    signed = "X-Amz-Security-Token" in url and urllib3.request("GET", url).data == photo["Body"].read()
    knows_the_collection = hit["confidence"] is not None
    return {status for status, _ in answers} == {200} and signed and knows_the_collection


def get(path: str, **parameters: str) -> tuple[int, Json]:
    event = {
        "path": path,
        "httpMethod": "GET",
        "headers": None,
        "queryStringParameters": parameters or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in parameters.items()} or None,
        "requestContext": {"path": path},
        "body": None,
        "isBase64Encoded": False,
    }
    answer = query.lambda_handler(event, LambdaContext("query"))
    return answer["statusCode"], json.loads(answer["body"])


def command(*arguments: str) -> bool:
    with pytest.raises(SystemExit) as exit:
        main([*arguments, "--output", f"s3://{VECTORS}"])
    return not exit.value.code


def plan(world: World) -> bool:
    """As the plan job: a first time, then of a table, then again, which reads what became of the first time; and as the
    report job, which reads the parts too, and writes the statistics of the collection.
    """
    with world.acting_as("PlanRole"):
        if not command("plan", f"s3://{PHOTOS}", "--shard-size", "1"):
            return False
    (first,) = read_plans(S3Storage(VECTORS))
    assert all(command("work", first.run, "--shard", str(shard)) for shard in range(first.shards))
    with world.acting_as("PlanRole"):
        if not (command("plan", f"s3://{PHOTOS}/table.csv") and command("plan", f"s3://{PHOTOS}")):
            return False
        if not command("report", first.run, "--statistics"):
            return False
    # Nothing has changed in the bucket.
    return len(read_plans(S3Storage(VECTORS))) == 2 and S3Storage(VECTORS).exists(statistics_key(FINGERPRINT))


def encode(world: World) -> bool:
    """As an encode job: one shard, and again, as when Spot has taken the first machine back."""
    assert command("plan", f"s3://{PHOTOS}")
    (planned,) = read_plans(S3Storage(VECTORS))
    with world.acting_as("EncodeRole"):
        if not (command("work", planned.run) and command("work", planned.run)):
            return False
    part = S3Storage(VECTORS).read(part_key(FINGERPRINT, planned.run, 0))
    return len(read_part(part).actions) == 2


FLOWS: dict[str, Callable[[World], bool]] = {
    "LoaderRole": load,
    "QueryRole": search,
    "PlanRole": plan,
    "EncodeRole": encode,
}

UNSEEN = {
    "Log": "Lambda writes the logs",
    "Trace": "the X-Ray daemon sends the traces",
    "SubmitEncoding": "moto asks about Batch without a resource; see the test of its own",
    "SubmitReport": "moto asks about Batch without a resource; see the test of its own",
    "SeeJobs": "the plan of this test submits nothing",
    "TellWhatIsNotThere": "moto says 404 to everybody",
    "TellWhatIsGone": "moto says 404 to everybody",
}
"""Statements that a flow gets by without here, though not on AWS, and why."""


@pytest.mark.parametrize("role", FLOWS)
def test_the_code_works_under_its_role(role: str, world: World) -> None:
    assert FLOWS[role](world), world.domain.refused


@pytest.mark.parametrize(
    ("role", "sid"), [(role, sid) for role in FLOWS for sid in statements_of(role) if sid not in UNSEEN]
)
def test_the_code_needs_every_statement_of_its_role(role: str, sid: str, world: World) -> None:
    world.without = sid
    outcome = attempt(lambda: FLOWS[role](world))
    assert outcome in (False, "refused")


def attempt(action: Callable[[], Any]) -> Any:
    """What `action` returns, or "refused" where AWS says that it isn't allowed."""
    try:
        return action()
    except ClientError as error:
        if error.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException", "403"):
            return "refused"
        return error


# --- What none of them may ---


def refused(action: Callable[[], Any]) -> bool:
    return bool(attempt(action) == "refused")


S3_ACTIONS: dict[str, Callable[[str, str], Any]] = {
    "list": lambda bucket, key: boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=key),
    "read": lambda bucket, key: boto3.client("s3").get_object(Bucket=bucket, Key=key),
    "write": lambda bucket, key: boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=b"x"),
    "delete": lambda bucket, key: boto3.client("s3").delete_object(Bucket=bucket, Key=key),
}
PART, PLANNED, STATISTICS = "vectors/m/r/00000.parquet", "runs/r/plan.json", "vectors/m/statistics.npz"
WORK, LEDGER, REJECTED = "runs/r/work/00000.parquet", "runs/r/ledger/00000.parquet", "runs/r/rejected/00000.jsonl"
PLACES = [
    (PHOTOS, "cat.webp"),
    (PHOTOS, "table.csv"),
    *((VECTORS, key) for key in (PART, PLANNED, WORK, LEDGER, REJECTED, STATISTICS)),
]
MAY: dict[str, dict[str, set[tuple[str, str]]]] = {
    "LoaderRole": {
        "list": {place for place in PLACES if place[0] == VECTORS},
        "read": {(VECTORS, PART), (VECTORS, REJECTED), (VECTORS, STATISTICS)},
        "write": {(VECTORS, REJECTED)},
    },
    "QueryRole": {"read": {(PHOTOS, "cat.webp"), (PHOTOS, "table.csv"), (VECTORS, STATISTICS)}},
    "PlanRole": {
        "list": set(PLACES),
        "read": {(PHOTOS, "table.csv"), (VECTORS, PLANNED), (VECTORS, LEDGER), (VECTORS, PART)},
        "write": {(VECTORS, PLANNED), (VECTORS, WORK), (VECTORS, STATISTICS)},
    },
    "EncodeRole": {
        "list": set(PLACES),
        "read": {(PHOTOS, "cat.webp"), (PHOTOS, "table.csv"), (VECTORS, PLANNED), (VECTORS, WORK), (VECTORS, LEDGER)},
        "write": {(VECTORS, PART), (VECTORS, LEDGER), (VECTORS, STATISTICS)},
    },
    "IngestRole": {},
}
"""All that a role may do on S3; nobody may delete."""


@pytest.mark.parametrize("role", MAY)
def test_a_role_may_do_on_s3_what_it_must_and_nothing_else(role: str, world: World) -> None:
    for bucket, key in PLACES:
        S3Storage(bucket).write(key, b"x")
    with world.acting_as(role):
        for name, action in S3_ACTIONS.items():
            may = {place for place in PLACES if not refused(partial(action, *place))}
            assert may == MAY[role].get(name, set()), name


@pytest.mark.parametrize("role", MAY)
def test_a_role_may_not_touch_other_buckets_queues_or_rights(role: str, world: World, tmp_path: Path) -> None:
    Bucket("somebody-elses", tmp_path / "o").keys()
    other = Queue("somebody-elses-too")
    with world.acting_as(role):
        sqs, iam = boto3.client("sqs"), boto3.client("iam")
        for action in S3_ACTIONS.values():
            assert refused(partial(action, "somebody-elses", "vectors/x"))
        assert refused(lambda: sqs.receive_message(QueueUrl=other.url))
        assert refused(lambda: sqs.send_message(QueueUrl=world.queue.url, MessageBody="{}"))
        assert refused(lambda: sqs.purge_queue(QueueUrl=world.queue.url))
        assert refused(lambda: sqs.receive_message(QueueUrl=world.queue.dead_letters))
        assert refused(lambda: iam.put_role_policy(RoleName=role, PolicyName="more", PolicyDocument="{}"))
        assert refused(lambda: boto3.client("s3").put_bucket_policy(Bucket=VECTORS, Policy="{}"))


@pytest.mark.parametrize(
    ("method", "path", "roles"),
    [
        ("POST", "/images-x/_search", {"QueryRole"}),
        ("POST", "/images-x/_msearch", {"QueryRole"}),
        ("POST", "/images-x/_count", {"QueryRole"}),
        ("POST", "/images-x/_bulk", {"LoaderRole"}),
        ("PUT", "/images-x", {"LoaderRole"}),
        ("PUT", "/images-x/_mapping", {"LoaderRole"}),
        ("DELETE", "/images-x", set()),
        ("POST", "/images-x/_delete_by_query", set()),
        ("POST", "/_bulk", set()),
        ("POST", "/_search", set()),
        ("POST", "/_msearch", set()),
        ("POST", "/others/_search", set()),
        ("PUT", "/_cluster/settings", set()),
        ("GET", "/_cat/indices", set()),
        ("PUT", "/_snapshot/mine", set()),
    ],
)
def test_the_index_is_open_to_two_roles_and_to_what_they_do(method: str, path: str, roles: set[str]) -> None:
    allowed = {role for role in MAY if allows(role, f"es:ESHttp{method.title()}", DOMAIN + path)}
    assert allowed == roles


def test_each_role_submits_its_own_jobs_only() -> None:
    batch = f"arn:aws:batch:{REGION}:{ACCOUNT}"
    jobs = {
        "plan": (f"{batch}:job-queue/fargate", f"{batch}:job-definition/image-search-plan:3"),
        "encode": (f"{batch}:job-queue/gpu", f"{batch}:job-definition/image-search-encode"),
        "other": (f"{batch}:job-queue/other", f"{batch}:job-definition/other:1"),
    }
    may = {
        (role, job)
        for role in MAY
        for job, resources in jobs.items()
        if any(allows(role, "batch:SubmitJob", resource) for resource in resources)
    }
    assert may == {("IngestRole", "plan"), ("PlanRole", "encode"), ("PlanRole", "plan")}  # the last to report
    assert all(allows("IngestRole", "batch:SubmitJob", resource) for resource in jobs["plan"])
    assert all(allows("PlanRole", "batch:SubmitJob", resource) for resource in jobs["encode"])


def test_a_right_too_many_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    loader_role = TEMPLATE["Resources"]["LoaderRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    (read,) = [
        statement for statement in loader_role if isinstance(statement, dict) and statement["Sid"] == "ReadParts"
    ]
    monkeypatch.setitem(read, "Action", ["s3:GetObject", "s3:PutObject"])
    with pytest.raises(AssertionError, match="write"):
        test_a_role_may_do_on_s3_what_it_must_and_nothing_else("LoaderRole", world)
