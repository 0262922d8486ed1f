"""How quick encoding was, and what held it up."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

WORKERS_SHARE = ("fetch", "decode")
"""Stages that the worker threads do, all at the same time."""


@dataclass(slots=True)
class Throughput:
    """`busy` has the seconds of each stage, those of the worker threads added up.

    Of several jobs, `seconds` and `images` are added up too, so the rate is that of one job.
    """

    images: int = 0
    seconds: float = 0.0
    workers: int = 1
    busy: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def images_per_second(self) -> float:
        """Images, good and bad, a second of wall-clock time; 0 when there were none."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def slowest_stage(self) -> str:
        """The stage that took most time: `fetch` or `decode` (these two share the workers), `encode` or `write`."""
        shared = {stage: seconds / self.workers for stage, seconds in self.busy.items() if stage in WORKERS_SHARE}
        return max({**self.busy, **shared}.items(), key=lambda item: item[1], default=("none", 0.0))[0]

    def add(self, other: Self) -> None:
        """Add what another shard or job took."""
        self.images += other.images
        self.seconds += other.seconds
        self.workers = max(self.workers, other.workers)
        for stage, seconds in other.busy.items():
            self.busy[stage] += seconds

    def to_metadata(self) -> dict[str, str]:
        """As it stands in the metadata of a Parquet file."""
        busy = {stage: round(seconds, 3) for stage, seconds in sorted(self.busy.items())}
        return {
            "images": str(self.images),
            "seconds": f"{self.seconds:.3f}",
            "workers": str(self.workers),
            "busy": json.dumps(busy),
        }

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """The inverse of `to_metadata`."""
        busy = defaultdict(float, json.loads(metadata["busy"]))
        return cls(int(metadata["images"]), float(metadata["seconds"]), int(metadata["workers"]), busy)
