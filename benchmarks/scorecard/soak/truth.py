"""What the index should hold after everything that was written to it, and how it differs."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from imagesearch.index.base import Action, Upsert


@dataclass(frozen=True, slots=True)
class Difference:
    """The ids of documents that an index lacks, has too many, and has in another version than the newest."""

    lost: list[str]
    surplus: list[str]
    outdated: list[str]


class Truth:
    """The newest of the actions of all parts, by id. Threads may share it."""

    def __init__(self) -> None:
        self._newest: dict[str, Action] = {}
        self._lock = threading.Lock()

    def add(self, actions: Iterable[Action]) -> None:
        """Take note of actions that were written, or are about to be. Of one id, the highest version counts."""
        with self._lock:
            for action in actions:
                newest = self._newest.get(action.id)
                if newest is None or action.version >= newest.version:
                    self._newest[action.id] = action

    def knows(self, id: str) -> bool:
        """Whether there ever was something with this id."""
        return id in self._newest

    @property
    def versions(self) -> dict[str, int]:
        """The version of each document that should be there, by id."""
        with self._lock:
            return {id: action.version for id, action in self._newest.items() if isinstance(action, Upsert)}

    def compare(self, found: Iterable[tuple[str, int]]) -> Difference:
        """How an index that has these ids and versions differs from what it should have."""
        there, right = dict(found), self.versions
        return Difference(
            lost=sorted(right.keys() - there.keys()),
            surplus=sorted(there.keys() - right.keys()),
            outdated=sorted(id for id in right.keys() & there.keys() if right[id] != there[id]),
        )
