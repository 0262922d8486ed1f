"""What template.yaml promises: nothing public, nothing unencrypted, no data lost with the stack, no right too many."""

import ast
import json
import re
import tempfile
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from batch.cli import app as cli
from batch.ledger import write_ledger
from batch.plan import Plan
from batch.report import log_line
from batch.throughput import Throughput
from functions.loader.app import PATIENCE_SECONDS
from imagesearch.index.opensearch import BULK_SECONDS
from imagesearch.settings import Settings
from imagesearch.storage import FolderStorage
from local import aws

ROOT = Path(__file__).parents[2]
Json = Any


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms: `!Ref x` is `{"Ref": "x"}`, `!GetAtt a.b` is `{"Fn::GetAtt": ["a", "b"]}`."""


def _long_form(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Json:
    value: Json
    match node:
        case yaml.ScalarNode():
            value = loader.construct_scalar(node)
        case yaml.SequenceNode():
            value = loader.construct_sequence(node, deep=True)
        case _:
            value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".")
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


Loader.add_multi_constructor("!", _long_form)

TEXT = (ROOT / "template.yaml").read_text()
TEMPLATE: Json = yaml.load(TEXT, Loader)
PARAMETERS: Json = TEMPLATE["Parameters"]
RESOURCES: Json = TEMPLATE["Resources"]
PROFILES: Json = tomllib.loads((ROOT / "samconfig.toml").read_text())


def of_type(kind: str) -> dict[str, Json]:
    return {name: resource for name, resource in RESOURCES.items() if resource["Type"] == kind}


def walk(node: Json) -> Iterator[Json]:
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]


def names_in(node: Json) -> set[str]:
    """Parameters and resources that `node` refers to."""
    found = set()
    for part in walk(node):
        if isinstance(part, dict):
            found |= {part["Ref"]} if isinstance(part.get("Ref"), str) else set()
            found |= {part["Fn::GetAtt"][0]} if "Fn::GetAtt" in part else set()
            for text in as_list(part.get("Fn::Sub", []))[:1]:
                found |= {name.split(".")[0] for name in re.findall(r"\$\{([\w.:]+)\}", text)}
    return found


def conditions_in(node: Json) -> set[str]:
    found = set()
    for part in walk(node):
        if isinstance(part, dict):
            found |= {part["Fn::If"][0]} if "Fn::If" in part else set()
            found |= {part["Condition"]} if isinstance(part.get("Condition"), str) else set()
    return found


def policies() -> Iterator[tuple[str, Json]]:
    """Every policy of a role, with the role's name."""
    for name, role in of_type("AWS::IAM::Role").items():
        for policy in role["Properties"].get("Policies", ()):
            yield name, policy
    for policy in of_type("AWS::IAM::RolePolicy").values():
        yield policy["Properties"]["RoleName"]["Ref"], policy["Properties"]


def statements() -> Iterator[tuple[str, Json]]:
    """Every statement of a role, with the role's name; those that hold only on a condition too."""
    for role, policy in policies():
        for statement in policy["PolicyDocument"]["Statement"]:
            yield role, statement["Fn::If"][1] if "Fn::If" in statement else statement


def filled(text: str) -> str:
    """The text of an Fn::Sub with something in each place."""
    return re.sub(r"\$\{[^}]+\}", "x", text)


# --- Data ---


def test_every_bucket_is_private_encrypted_versioned_and_only_for_tls() -> None:
    buckets = of_type("AWS::S3::Bucket")
    assert set(buckets) == {"PhotosBucket", "VectorsBucket"}
    for name, bucket in buckets.items():
        properties = bucket["Properties"]
        assert list(properties["PublicAccessBlockConfiguration"].values()) == [True] * 4
        (encryption,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
        assert any("AbortIncompleteMultipartUpload" in rule for rule in properties["LifecycleConfiguration"]["Rules"])
        assert only_tls("AWS::S3::BucketPolicy", name)


def test_every_queue_is_encrypted_and_only_for_tls() -> None:
    for name, queue in of_type("AWS::SQS::Queue").items():
        assert queue["Properties"]["SqsManagedSseEnabled"] is True
        assert only_tls("AWS::SQS::QueuePolicy", name)


def only_tls(kind: str, name: str) -> bool:
    """Whether a policy denies everything on the resource `name` without TLS."""
    policies = [policy["Properties"] for policy in of_type(kind).values()]
    (policy,) = [policy for policy in policies if {"Ref": name} in (policy.get("Bucket"), *policy.get("Queues", ()))]
    return any(
        statement["Effect"] == "Deny"
        and statement["Principal"] == "*"
        and statement["Action"].endswith(":*")
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        and {"Fn::GetAtt": [name, "Arn"]} in as_list(statement["Resource"])
        for statement in policy["PolicyDocument"]["Statement"]
    )


def test_what_holds_data_outlives_the_stack_but_not_a_failed_creation() -> None:
    for resource in [*of_type("AWS::S3::Bucket").values(), *of_type("AWS::OpenSearchService::Domain").values()]:
        assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
        assert resource["UpdateReplacePolicy"] == "Retain"


def test_the_domain_encrypts_everywhere_and_lets_in_two_roles_with_less_than_they_have() -> None:
    domain = RESOURCES["SearchDomain"]["Properties"]
    assert domain["EncryptionAtRestOptions"]["Enabled"]
    assert domain["NodeToNodeEncryptionOptions"]["Enabled"]
    assert domain["DomainEndpointOptions"]["EnforceHTTPS"]
    assert domain["DomainEndpointOptions"]["TLSSecurityPolicy"].startswith("Policy-Min-TLS-1-2")
    domain_policy = set()
    for statement in domain["AccessPolicies"]["Statement"]:
        role = statement["Principal"]["AWS"]["Fn::GetAtt"][0]
        for action in as_list(statement["Action"]):
            paths = [resource["Fn::Sub"].split(":domain/*/")[1] for resource in as_list(statement["Resource"])]
            domain_policy |= {(role, action, path) for path in paths}
    role_policies = set()
    for role, statement in statements():
        for action in as_list(statement["Action"]):
            if action.startswith("es:"):
                paths = [resource["Fn::Sub"][0].split("${Domain}/")[1] for resource in as_list(statement["Resource"])]
                role_policies |= {(role, action, path) for path in paths}
    assert domain_policy == role_policies
    assert {role for role, _, _ in domain_policy} == {"QueryRole", "LoaderRole"}
    assert {action for role, action, _ in domain_policy if role == "QueryRole"} == {"es:ESHttpPost"}


# --- Rights ---

ON_ANYTHING = {
    "xray:PutTraceSegments": "X-Ray has no resources",
    "xray:PutTelemetryRecords": "X-Ray has no resources",
    "ecr:GetAuthorizationToken": "has no resource",
    "batch:ListJobs": "has no resource",
    "ecs:DiscoverPollEndpoint": "has no resource",
    "ec2:CreateNetworkInterface": "Lambda asks for it on anything, for functions in a VPC",
    "ec2:DescribeNetworkInterfaces": "has no resource",
    "ec2:DescribeSubnets": "has no resource",
    "ec2:DeleteNetworkInterface": "Lambda asks for it on anything, for functions in a VPC",
    "ec2:AssignPrivateIpAddresses": "Lambda asks for it on anything, for functions in a VPC",
    "ec2:UnassignPrivateIpAddresses": "Lambda asks for it on anything, for functions in a VPC",
}


def test_no_role_may_do_everything_or_anything_to_everything() -> None:
    seen = set()
    for role, statement in statements():
        assert statement["Effect"] == "Allow"
        assert statement["Sid"]
        for action in as_list(statement["Action"]):
            assert "*" not in action, (role, action)
            if "*" in as_list(statement["Resource"]):
                assert action in ON_ANYTHING, (role, action)
                seen.add(action)
    assert seen == set(ON_ANYTHING)


def test_no_role_may_delete_objects_or_indices() -> None:
    actions = {action for _, statement in statements() for action in as_list(statement["Action"])}
    assert not {action for action in actions if "Delete" in action and action.startswith(("s3:", "es:"))}


def test_the_only_managed_policy_is_that_of_api_gateways_logs() -> None:
    managed = {name for name, role in of_type("AWS::IAM::Role").items() if "ManagedPolicyArns" in role["Properties"]}
    assert managed == {"ApiGatewayLogRole"}


def test_every_function_and_job_has_a_role_of_its_own() -> None:
    functions = [function["Properties"]["Role"] for function in of_type("AWS::Serverless::Function").values()]
    jobs = [job["Properties"]["ContainerProperties"] for job in of_type("AWS::Batch::JobDefinition").values()]
    roles = [role["Fn::GetAtt"][0] for role in [*functions, *(job["JobRoleArn"] for job in jobs)]]
    assert len(roles) == len(set(roles)) == 6


def test_no_security_group_lets_the_world_in() -> None:
    for group in of_type("AWS::EC2::SecurityGroup").values():
        for rule in group["Properties"].get("SecurityGroupIngress", ()):
            assert "SourceSecurityGroupId" in rule
            assert "CidrIp" not in rule


def test_a_check_that_is_switched_off_has_its_reason() -> None:
    for line in TEXT.splitlines():
        if "checkov:skip" in line:
            assert re.search(r"# checkov:skip=CKV\d*_AWS_\d+: \w.{20,}", line), line


# --- Loader ---


def test_a_part_is_not_handed_out_again_while_it_is_loaded() -> None:
    loader, queue = RESOURCES["LoaderFunction"]["Properties"], RESOURCES["PartsQueue"]["Properties"]
    assert queue["VisibilityTimeout"] >= 6 * loader["Timeout"]  # what Lambda asks for
    source = loader["Events"]["Parts"]["Properties"]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["Queue"] == {"Fn::GetAtt": ["PartsQueue", "Arn"]}


def test_the_patience_of_the_loader_fits_its_time_and_the_stand_in_is_as_the_queue() -> None:
    function, queue = RESOURCES["LoaderFunction"]["Properties"], RESOURCES["PartsQueue"]["Properties"]
    batch_size = function["Events"]["Parts"]["Properties"]["BatchSize"]
    assert batch_size * (PATIENCE_SECONDS + BULK_SECONDS) < function["Timeout"]
    assert (queue["VisibilityTimeout"], batch_size) == (aws.VISIBILITY_SECONDS, aws.BATCH_SIZE)
    assert queue["RedrivePolicy"]["maxReceiveCount"] == aws.MAX_RECEIVES


def test_a_part_that_can_not_be_loaded_is_kept_for_a_fortnight() -> None:
    queue, dead = RESOURCES["PartsQueue"]["Properties"], RESOURCES["PartsDeadLetters"]["Properties"]
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": ["PartsDeadLetters", "Arn"]}
    assert queue["RedrivePolicy"]["maxReceiveCount"] >= 5  # fewer, and throttled messages would end there
    assert dead["MessageRetentionPeriod"] == 14 * 24 * 3600


def test_only_the_vectors_bucket_may_send_events_and_only_of_parts() -> None:
    events = RESOURCES["PartsQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"][0]
    arn, bucket = events["Condition"]["ArnEquals"]["aws:SourceArn"], RESOURCES["VectorsBucket"]
    assert arn["Fn::Sub"][0] == "arn:${AWS::Partition}:s3:::" + bucket["Properties"]["BucketName"]["Fn::Sub"][0]
    assert arn["Fn::Sub"][1] == bucket["Properties"]["BucketName"]["Fn::Sub"][1]
    (notification,) = bucket["Properties"]["NotificationConfiguration"]["QueueConfigurations"]
    assert notification["Filter"]["S3Key"]["Rules"] == [
        {"Name": "prefix", "Value": "vectors/"},
        {"Name": "suffix", "Value": ".parquet"},
    ]
    assert bucket["DependsOn"] == "PartsQueuePolicy"  # S3 tries it out
    assert "VectorsBucket" not in names_in(RESOURCES["PartsQueuePolicy"])  # or each would wait for the other


# --- Functions, jobs and the code that they run ---


def test_functions_are_given_settings_that_there_are_and_all_that_have_no_default() -> None:
    known = {f"IMAGESEARCH_{name.upper()}" for name in Settings.model_fields}
    needed = {f"IMAGESEARCH_{name.upper()}" for name, field in Settings.model_fields.items() if field.is_required()}
    for name in ("LoaderFunction", "QueryFunction"):
        given = RESOURCES[name]["Properties"]["Environment"]["Variables"]
        ours = {variable for variable in given if not variable.startswith("POWERTOOLS_")}
        assert needed <= ours <= known


def test_jobs_and_the_ingest_function_are_given_the_variables_that_they_read() -> None:
    source = {path.name: path.read_text() for path in (ROOT / "batch").rglob("*.py")}
    given = set(RESOURCES["IngestFunction"]["Properties"]["Environment"]["Variables"])
    assert given == set(re.findall(r"IMAGESEARCH_\w+", source["start.py"]))
    plan = {one["Name"] for one in RESOURCES["PlanJob"]["Properties"]["ContainerProperties"]["Environment"]}
    read = {name: set(re.findall(r"IMAGESEARCH_\w+", source[name])) for name in ("runs.py", "options.py")}
    assert read["runs.py"] <= plan - {"AWS_DEFAULT_REGION"} <= read["runs.py"] | read["options.py"]


def test_what_functions_run_exists() -> None:
    for name, function in of_type("AWS::Serverless::Function").items():
        properties, metadata = function["Properties"], function.get("Metadata", {})
        match name:
            case "LoaderFunction":
                file = ROOT / properties["CodeUri"] / "app.py"
                handler = properties["Handler"]
            case "QueryFunction":
                file, handler = ROOT / "functions/query/app.py", "app.lambda_handler"
                assert f'CMD ["{handler}"]' in (ROOT / metadata["Dockerfile"]).read_text()
            case "IngestFunction":
                file, (handler,) = ROOT / "batch/start.py", properties["ImageConfig"]["Command"]
                interpreter = properties["ImageConfig"]["EntryPoint"][0]
                assert interpreter.removesuffix("/bin/python") in (ROOT / metadata["Dockerfile"]).read_text()
            case "BatchImageFunction":
                assert "handler" in defined(properties["InlineCode"])
                continue
        assert handler.rpartition(".")[2] in defined(file.read_text())


def defined(source: str) -> set[str]:
    return {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


def test_images_are_built_with_arguments_that_their_dockerfiles_take() -> None:
    for function in of_type("AWS::Serverless::Function").values():
        if function["Properties"].get("PackageType") == "Image":
            dockerfile = (ROOT / function["Metadata"]["Dockerfile"]).read_text()
            assert set(function["Metadata"]["DockerBuildArgs"]) <= set(re.findall(r"^ARG (\w+)", dockerfile, re.M))


def test_the_command_of_the_encode_job_is_one_of_the_command_line() -> None:
    properties = RESOURCES["EncodeJob"]["Properties"]
    name, *arguments = properties["ContainerProperties"]["Command"]
    references = {word for word in arguments if word.startswith("Ref::")}
    with typer.main.get_group(cli).commands[name].make_context(name, arguments) as context:
        assert references <= {value for value in context.params.values() if isinstance(value, str)}
    # Of the run, who submits the job says which.
    assert references - {"Ref::run"} == {f"Ref::{parameter}" for parameter in properties["Parameters"]}


def test_a_job_that_spot_takes_back_is_tried_again_and_a_mistake_is_not() -> None:
    rules = RESOURCES["EncodeJob"]["Properties"]["RetryStrategy"]["EvaluateOnExit"]

    def outcome(reason: str, status_reason: str) -> str:
        given = {"OnReason": reason, "OnStatusReason": status_reason}
        for rule in rules:
            patterns = {name: pattern for name, pattern in rule.items() if name != "Action"}
            if all(fnmatchcase(given[name], pattern) for name, pattern in patterns.items()):
                return str(rule["Action"])
        return "RETRY"  # Batch's own, while attempts are left

    assert outcome("", "Host EC2 (instance i-0abc) terminated.") == "RETRY"
    assert outcome("CannotPullContainerError: pull access denied", "Task failed to start") == "RETRY"
    assert outcome("", "Essential container in task exited") == "EXIT"
    assert outcome("OutOfMemoryError: Container killed due to memory usage", "") == "EXIT"


def test_no_function_but_the_one_whose_version_is_read_has_an_alias() -> None:
    # SAM publishes no version when only a parameter changes: behind an alias, it would have no effect.
    functions = of_type("AWS::Serverless::Function").items()
    assert {name for name, one in functions if "AutoPublishAlias" in one["Properties"]} == {"IngestFunction"}
    assert RESOURCES["BatchImage"]["Properties"]["FunctionVersion"] == {"Ref": "IngestFunction.Version"}


# --- The API ---


def test_the_api_wants_a_key_but_for_the_page_and_the_openapi_document() -> None:
    api = RESOURCES["SearchApi"]["Properties"]
    assert api["Auth"] == {"ApiKeyRequired": True, "AddApiKeyRequiredToCorsPreflight": False}
    events = [event["Properties"] for event in RESOURCES["QueryFunction"]["Properties"]["Events"].values()]
    keyless = {(one["Method"], one["Path"]) for one in events if one.get("Auth", {}).get("ApiKeyRequired") is False}
    assert keyless == {("GET", "/"), ("GET", "/openapi.json")}
    assert {one["Path"] for one in events} == {"/", "/openapi.json", "/{proxy+}"}


def test_what_the_gateway_says_itself_has_the_form_of_our_errors() -> None:
    responses = RESOURCES["SearchApi"]["Properties"]["GatewayResponses"]
    for kind, response in responses.items():
        text = response["ResponseTemplates"]["application/json"]
        text = text.replace("$context.error.messageString", '"x"').replace("$context.requestId", "x")
        error = json.loads(text)["error"]
        assert set(error) == {"code", "message"}, kind
        assert response["ResponseParameters"]["Headers"]["Access-Control-Allow-Origin"] == "'*'", kind
    assert {response.get("StatusCode") for response in responses.values()} == {401, 403, 404, 413, 429, 503, 504, None}


def test_the_access_log_is_json_without_what_was_searched_for() -> None:
    line = json.loads(RESOURCES["SearchApi"]["Properties"]["AccessLogSetting"]["Format"])
    assert {"request_id", "status", "latency_ms"} <= set(line)
    assert not [value for value in line.values() if "querystring" in value.lower() or value.rsplit(".")[-1] == "apiKey"]


def test_there_is_a_sample_event_for_every_function_and_route() -> None:
    from functions.query.app import app as query  # seconds

    events = [json.loads(path.read_text()) for path in (ROOT / "events").glob("*.json")]
    requests = [event for event in events if "httpMethod" in event]
    for route in query._static_routes + query._dynamic_routes:
        assert any(route.method == one["httpMethod"] and route.rule.match(one["path"]) for one in requests), route.path
    assert any("query" in event for event in events)  # the query function, invoked directly
    assert any(event.get("Records", [{}])[0].get("eventSource") == "aws:sqs" for event in events)  # the loader
    assert {} in events  # the ingest function


# --- Operations ---


def test_every_log_is_kept_as_long_as_asked_for_and_every_function_has_one() -> None:
    groups = of_type("AWS::Logs::LogGroup")
    assert {str(group["Properties"]["RetentionInDays"]) for group in groups.values()} == {"{'Ref': 'LogRetentionDays'}"}
    for function in of_type("AWS::Serverless::Function").values():
        assert function["Properties"]["LoggingConfig"]["LogGroup"]["Ref"] in groups
    for job in of_type("AWS::Batch::JobDefinition").values():
        assert job["Properties"]["ContainerProperties"]["LogConfiguration"]["Options"]["awslogs-group"]["Ref"] in groups


def test_every_alarm_tells_somebody_and_its_meaning_is_written_down() -> None:
    manual = (ROOT / "docs" / "operations.md").read_text()
    alarms = of_type("AWS::CloudWatch::Alarm")
    for name, alarm in alarms.items():
        assert alarm["Properties"]["AlarmActions"] == [{"Ref": "AlarmTopic"}], name
        assert alarm["Properties"]["TreatMissingData"] == "notBreaching", name
    rules = of_type("AWS::Events::Rule")
    for name, rule in rules.items():
        assert [target["Arn"] for target in rule["Properties"]["Targets"]] == [{"Ref": "AlarmTopic"}], name
    names = {name.removesuffix("Alarm").removesuffix("Rule") for name in (*alarms, *rules)}
    assert names == set(re.findall(r"^### (\w+)", manual, re.M))
    assert RESOURCES["AlarmTopic"]["Properties"]["KmsMasterKeyId"] == {"Ref": "AlarmKey"}


def test_the_dashboard_is_json_and_shows_every_alarm_that_there_always_is() -> None:
    body = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"][0]
    widgets = json.loads(filled(body))["widgets"]
    assert all(widget["x"] + widget["width"] <= 24 for widget in widgets)
    always = {name for name, alarm in of_type("AWS::CloudWatch::Alarm").items() if "Condition" not in alarm}
    assert set(re.findall(r"\$\{(\w+Alarm)\.Arn\}", body)) == always


def test_metrics_are_made_of_what_encode_jobs_log() -> None:
    filters = of_type("AWS::Logs::MetricFilter").values()
    (plan,) = {one["Properties"]["FilterPattern"] for one in filters}
    line = log_line_of_a_shard()
    assert plan == f'{{ $.message = "{line["message"]}" }}'
    values = [one["Properties"]["MetricTransformations"][0]["MetricValue"].removeprefix("$.") for one in filters]
    assert len(values) == 3
    assert all(isinstance(line[value], int | float) for value in values)


def log_line_of_a_shard() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        output = FolderStorage(Path(folder))
        plan = Plan.model_construct(run="r")
        write_ledger(output, "r", 0, "f", [], Throughput(images=10, seconds=4))
        return log_line(output, plan, 0)


# --- Parameters, conditions, rules ---


def test_every_parameter_is_explained_used_and_in_one_group() -> None:
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(PARAMETERS)
    used = names_in([RESOURCES, TEMPLATE["Conditions"], TEMPLATE["Outputs"]])
    for name, parameter in PARAMETERS.items():
        assert len(parameter["Description"]) > 10, name
        assert "Default" in parameter, name
        assert name in used


def test_every_parameter_is_in_the_manual_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`)? *\|", (ROOT / "docs" / "deploy.md").read_text(), re.M)
    assert dict(rows) == {name: str(one["Default"]) for name, one in PARAMETERS.items()}


def test_every_condition_is_used() -> None:
    assert set(TEMPLATE["Conditions"]) == conditions_in([RESOURCES, TEMPLATE["Conditions"], TEMPLATE["Outputs"]])


def valid(name: str, value: str) -> bool:
    """Whether CloudFormation would take `value` for the parameter `name`."""
    parameter = PARAMETERS[name]
    if "AllowedValues" in parameter:
        return value in map(str, parameter["AllowedValues"])
    if "AllowedPattern" in parameter:
        return re.search(parameter["AllowedPattern"], value) is not None
    if parameter["Type"] == "Number":
        return bool(parameter["MinValue"] <= float(value) <= parameter["MaxValue"])
    return bool(len(value) >= parameter.get("MinLength", 0))


def test_defaults_are_valid() -> None:
    assert all(valid(name, str(parameter["Default"])) for name, parameter in PARAMETERS.items())


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("PhotosBucketName", "my.photos-2024", "s3://my-photos"),
        ("PhotosPrefix", "family/2024 summer", "family/"),
        ("PhotosPrefix", "f", "/family"),
        ("PhotosPrefix", "é 🐶", "*"),
        ("PhotosKeyArn", "arn:aws:kms:eu-west-1:123456789012:key/1234abcd", "alias/photos"),
        (
            "SearchEndpoint",
            "https://a.es.amazonaws.com",
            "http://a.es.amazonaws.com",
        ),
        ("SearchEndpoint", "https://a.b:9200", "https://user:secret@a.b"),
        (
            "SearchDomainArn",
            "arn:aws:es:us-east-1:123456789012:domain/my",
            "arn:aws:es:us-east-1:123456789012:domain/my/*",
        ),
        ("SearchInstanceCount", "3", "5"),
        ("SearchEngineVersion", "OpenSearch_3.1", "OpenSearch_2.19"),
        ("IngestSchedule", "cron(0 3 * * ? *)", "0 3 * * *"),
        ("VpcId", "vpc-0a1b2c3d4e5f67890", "subnet-0a1b2c3d"),
        ("AlarmEmail", "me@example.org", "me"),
    ],
)
def test_parameters_are_checked(name: str, good: str, bad: str) -> None:
    assert valid(name, good)
    assert not valid(name, bad)


def values_with(given: dict[str, str]) -> dict[str, str]:
    return {name: str(parameter["Default"]) for name, parameter in PARAMETERS.items()} | given


def evaluate(node: Json, values: dict[str, str]) -> Json:
    """The value of a rule's or a condition's expression for parameters with these `values`."""
    if not isinstance(node, dict):
        return node
    ((function, given),) = node.items()
    if function == "Ref":
        return values[given].split(",") if PARAMETERS[given]["Type"] == "CommaDelimitedList" else values[given]
    if function == "Condition":
        return evaluate(TEMPLATE["Conditions"][given], values)
    operands = [evaluate(operand, values) for operand in given]
    match function:
        case "Fn::Equals":
            return operands[0] == operands[1]
        case "Fn::Not":
            return not operands[0]
        case "Fn::And":
            return all(operands)
        case "Fn::Or":
            return any(operands)
        case "Fn::EachMemberEquals":
            return all(member == operands[1] for member in operands[0])
    raise AssertionError(function)


def chosen(node: Json, values: dict[str, str]) -> Json:
    """`node` with each Fn::If decided."""
    match node:
        case {"Fn::If": [condition, yes, no]}:
            return chosen(yes if evaluate(TEMPLATE["Conditions"][condition], values) else no, values)
        case dict():
            return {key: chosen(value, values) for key, value in node.items()}
        case list():
            return [chosen(one, values) for one in node]
    return node


def broken_rules(**given: str) -> set[str]:
    values = values_with(given)
    return {
        name
        for name, rule in TEMPLATE["Rules"].items()
        if evaluate(rule.get("RuleCondition", True), values)
        and not all(evaluate(assertion["Assert"], values) for assertion in rule["Assertions"])
    }


def test_rules_say_what_would_be_right() -> None:
    assertions = [assertion for rule in TEMPLATE["Rules"].values() for assertion in rule["Assertions"]]
    assert all(set(PARAMETERS) & set(re.findall(r"\w+", one["AssertDescription"])) for one in assertions)


def test_defaults_break_no_rule() -> None:
    assert broken_rules() == set()


VPC = {"VpcId": "vpc-1", "SubnetIds": "subnet-1,subnet-2"}
DOMAIN = {"SearchEndpoint": "https://x", "SearchDomainArn": "arn:aws:es:us-east-1:123456789012:domain/x"}


@pytest.mark.parametrize(
    ("given", "broken"),
    [
        ({"PhotosKeyArn": "arn"}, {"OwnBucketOfTheKey"}),
        ({"PhotosKeyArn": "arn", "PhotosBucketName": "mine"}, set()),
        ({"VpcId": "vpc-1"}, {"VpcWithSubnets"}),
        ({"SubnetIds": "subnet-1"}, {"SubnetsWithVpc"}),
        (VPC, set()),
        ({"SearchEndpoint": "https://x"}, {"EndpointWithArn"}),
        ({"SearchDomainArn": "arn"}, {"EndpointWithArn"}),
        (DOMAIN, set()),
        ({"IndexEngine": "faiss"}, {"FaissNeedsMemory"}),
        ({"IndexEngine": "faiss", "SearchInstanceType": "r6g.large.search"}, set()),
        ({"IndexEngine": "faiss", **DOMAIN}, set()),
    ],
)
def test_combinations_that_can_not_work_are_refused(given: dict[str, str], broken: set[str]) -> None:
    assert broken_rules(**given) == broken


def present(**given: str) -> set[str]:
    """The resources that there are with these parameters."""
    values = values_with(given)
    true = {name for name, condition in TEMPLATE["Conditions"].items() if evaluate(condition, values)}
    return {name for name, resource in RESOURCES.items() if resource.get("Condition") in (None, *true)}


@pytest.mark.parametrize(
    ("given", "gone", "come"),
    [
        (
            {},
            {"FunctionSecurityGroup", "SearchSecurityGroup", "ScheduledIngest", "AlarmSubscription"},
            {"Vpc", "GpuQueue"},
        ),
        (
            {"EncodeOn": "cpu"},
            {"GpuQueue", "SpotEnvironment", "OnDemandEnvironment", "LaunchTemplate", "InstanceRole"},
            {"FargateQueue"},
        ),
        ({"EncodeOnDemandVcpus": "0"}, {"OnDemandEnvironment"}, {"SpotEnvironment"}),
        (VPC, {"Vpc", "SubnetA", "InternetRoute"}, {"FunctionSecurityGroup", "SearchSecurityGroup"}),
        (DOMAIN, {"SearchDomain", "SearchLogs", "SearchStorageAlarm"}, {"SearchRedAlarm", "LoaderIndexPolicy"}),
        (VPC | DOMAIN, {"SearchSecurityGroup"}, {"FunctionSecurityGroup"}),
        ({"PhotosBucketName": "mine"}, {"PhotosBucket", "PhotosBucketPolicy"}, {"VectorsBucket"}),
        ({"IngestSchedule": "rate(1 day)"}, set(), {"ScheduledIngest", "SchedulerRole"}),
        ({"SetApiGatewayLogRole": "false"}, {"ApiGatewayAccount", "ApiGatewayLogRole"}, {"ApiLogs"}),
        ({"AlarmEmail": "me@example.org"}, set(), {"AlarmSubscription"}),
    ],
)
def test_parts_that_were_not_chosen_stay_out(given: dict[str, str], gone: set[str], come: set[str]) -> None:
    there = present(**given)
    assert not gone & there
    assert come <= there


@pytest.mark.parametrize(
    "given",
    [
        {},
        VPC,
        DOMAIN,
        VPC | DOMAIN,
        {"EncodeOn": "cpu"},
        {"EncodeOnDemandVcpus": "0"},
        {"PhotosBucketName": "mine"},
        {"IngestSchedule": "rate(1 day)"},
        {"SetApiGatewayLogRole": "false"},
    ],
)
def test_nothing_refers_to_what_is_not_there(given: dict[str, str]) -> None:
    values, there = values_with(given), present(**given)
    gone = set(RESOURCES) - there
    for name in there:
        assert not names_in(chosen(RESOURCES[name], values)) & gone, name
    assert not names_in(chosen(TEMPLATE["Outputs"], values)) & gone


# --- Profiles ---


@pytest.mark.parametrize("profile", ["default", "prod", "local"])
def test_profiles_give_parameters_that_there_are_and_values_that_are_taken(profile: str) -> None:
    given = dict(pair.split("=", 1) for pair in PROFILES[profile]["global"]["parameters"]["parameter_overrides"])
    assert set(given) <= set(PARAMETERS)
    if profile == "local":
        given.pop("SearchEndpoint")  # http: it is for `sam local`, which checks no parameters
    assert all(valid(name, value) for name, value in given.items())
    assert broken_rules(**given) == set()
