"""What Lambda gives a handler beside the event."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]
"""A Lambda handler: event and context in, answer out."""


@dataclass
class LambdaContext:
    """What a handler may ask of its context, on this machine."""

    function_name: str
    memory_limit_in_mb: int = 3008
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def invoked_function_arn(self) -> str:
        """The name of the function as AWS would spell it."""
        return f"arn:aws:lambda:us-east-1:000000000000:function:{self.function_name}"
