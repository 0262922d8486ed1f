"""What it costs: worked out from the times that this run measured and from public list prices.

Prices are those of us-east-1 in US dollars that docs/deploy.md has, as known when this was written: check them against
https://aws.amazon.com/pricing/ before you rely on them. Not measured here: GPUs, and anything on AWS itself.
"""

from collections.abc import Iterator, Sequence

from benchmarks.scorecard.rows import Row

GB_SECOND, CALL, GATEWAY_CALL = 16.67e-6, 0.20e-6, 3.50e-6
"""Lambda on x86_64, a GB-second and a request; a request of API Gateway (REST)."""
FARGATE_HOUR = 0.197
"""4 vCPUs and 8 GB."""
TITAN_IMAGE, TITAN_TOKEN = 60e-6, 0.8e-6
"""Amazon Titan Multimodal Embeddings on Bedrock: https://aws.amazon.com/bedrock/pricing/"""
OCU_HOUR, HOURS = 0.24, 730
"""OpenSearch Serverless, of which a collection takes one unit at least (half for indexing, half for searching), twice
that with a second zone: https://aws.amazon.com/opensearch-service/pricing/"""
IDLE_MONTH = 30.30
"""docs/deploy.md, "Every month", idle."""
OURS_GB, TORCH_GB = 2.0, 3.0
"""Memory of the query function: our default; with torch, whose process alone takes 1.7 GB before the first image."""
TOKENS = 10
"""Of a query."""


def measure(rows: Sequence[Row]) -> Iterator[Row]:
    """What 1,000 text queries, a million images and an idle month cost, by the figures in `rows` of the same run.

    Rows whose figures weren't measured are left out.
    """
    by_key = {row.key: row for row in rows}
    lambda_, fargate = "1,000 text queries: Lambda and API Gateway", "1M images of 480 px: Fargate, 4 vCPUs"
    titan = "Titan Multimodal on Bedrock"
    for peer in ("transformers", "open_clip"):
        warm = by_key.get(f"text-handler/{peer}")
        if warm and warm.theirs:
            costs = query_cost(warm.ours, OURS_GB), query_cost(warm.theirs, TORCH_GB)
            note = f"warm, {OURS_GB:g} GB against {TORCH_GB:g} GB of memory"
            yield Row(f"cost-queries/{peer}", lambda_, f"the handler with {warm.against}", "$", *costs, note=note)
    if warm := by_key.get("text-handler/open_clip"):
        costs = query_cost(warm.ours, OURS_GB), query_cost(5, 0.5) + 1_000 * TOKENS * TITAN_TOKEN
        note = f"{TOKENS} tokens a query; its function takes 5 ms and 0.5 GB besides"
        yield Row("cost-queries/titan", lambda_, titan, "$", *costs, note=note)
    for peer in ("open_clip", "clip-retrieval"):
        encode = by_key.get(f"batch/{peer}")
        if encode and encode.theirs:
            costs = images_cost(encode.ours), images_cost(encode.theirs)
            note = "on 4 vCPUs, twice the images/s of 2 cores of this machine"
            yield Row(f"cost-images/{peer}", fargate, encode.against, "$", *costs, note=note)
    if encode := by_key.get("batch/open_clip"):
        yield Row("cost-images/titan", fargate, titan, "$", images_cost(encode.ours), 1e6 * TITAN_IMAGE)
    note = "ours: one t3.small.search; theirs doubles with a second zone"
    serverless = OCU_HOUR * HOURS
    yield Row("cost-idle", "an idle month", "OpenSearch Serverless, one zone", "$", IDLE_MONTH, serverless, note=note)


def query_cost(milliseconds: float, memory_gb: float) -> float:
    """Dollars for 1,000 calls of that long each."""
    return 1_000 * (milliseconds / 1_000 * memory_gb * GB_SECOND + CALL + GATEWAY_CALL)


def images_cost(rate: float) -> float:
    """Dollars for a million images on 4 vCPUs, where 2 cores encode `rate` a second."""
    return 1e6 / (2 * rate) / 3_600 * FARGATE_HOUR
