"""The order in which processes read the shards of a stream, and its exact resume.

The shards are read in an order that is a pure function of (seed, epoch), several at a time, into a
buffer of encoded images; a full buffer is shuffled, handed on and filled again. So where a process
is in its part of a stream is told by the states that ``datasets`` has of the open shards when the
buffer was begun, and the place in the buffer: a resumed run fills that one buffer again, and goes
on with the very next image.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from distvae.draws.order import permutation
from distvae.draws.philox import Stream
from distvae.errors import DistvaeError

LANES = 8
"""Shards that are read at a time, so that a buffer mixes them."""

Example = Mapping[str, Any]
State = dict[str, Any]


def finely(table: Any) -> Any:
    """A stream that opens one row group of parquet files at a time.

    Otherwise Arrow reads ahead to the end of a file, however slowly it is consumed. Versions of
    ``datasets`` before 4.8 cannot do it.
    """
    return table.reshard() if hasattr(table, "reshard") else table


class StreamOrder:
    """The order in which one of several processes sees its part of a stream, for ever.

    Whole shards are dealt out as far as all processes get the same number; of each shard that is
    left over, every process takes its share of the images.

    Args:
        data: how to call the stream in messages.
        table: the stream of ``datasets``.
        buffer: how many images are shuffled at a time.
        seed: with the epoch, it determines the order of the shards and of each buffer.
        rank: of this process.
        world_size: how many there are.
        keep: whether an example is one of those that are seen; left out: all are.

    Raises:
        DistvaeError: there are more processes than shards.
    """

    def __init__(
        self,
        data: str,
        table: Any,
        buffer: int,
        seed: int,
        rank: int,
        world_size: int,
        keep: Callable[[Example], bool] | None = None,
    ) -> None:
        if table.num_shards < world_size:
            raise DistvaeError(
                f"--streaming finds {table.num_shards} shards in {data} for {world_size} processes",
                "expected at least one for each, as every file is read by one of them",
                f"Start {table.num_shards} processes or fewer, or write the data in more files.",
            )
        self._data = data
        self._table = table
        self._size = buffer
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._keep = keep

    def examples(self, epoch: int, state: State | None = None) -> Iterator[tuple[Example, State]]:
        """Examples without end, each with the state that goes on after it.

        When all are read they begin again: parts of a stream may differ in length, and processes
        must take the same number of steps.

        Args:
            epoch: which order.
            state: fit for JSON; left out: from the beginning.
        """
        lanes = self._lanes(epoch, state["lanes"] if state else None)
        buffer, place = (state["buffer"], state["place"]) if state else (0, 0)
        while True:
            begun = [lane.state for lane in lanes]
            rows = _filled(lanes, self._size)
            if rows:
                order = permutation(len(rows), self._seed, Stream.BUFFER, epoch, buffer)
                for taken in range(place, len(rows)):
                    state = {"lanes": begun, "buffer": buffer, "place": taken + 1}
                    yield rows[order[taken]], state
                buffer, place = buffer + 1, 0
            elif not buffer:
                raise DistvaeError(
                    f"rank {self._rank} finds no image in its shards of {self._data}",
                    f"they are one in {self._world_size} of all",
                    "Write shards of one size, or start fewer processes.",
                )
            else:
                lanes = self._lanes(epoch, None)

    def _lanes(self, epoch: int, states: list[Any] | None) -> list["_Lane"]:
        parts = self._parts(epoch)
        count = min(LANES, len(parts))
        return [
            _Lane(
                *(self._table, parts[lane::count], self._keep),
                *(states[lane] if states else (0, None)),
            )
            for lane in range(count)
        ]

    def _parts(self, epoch: int) -> list["_Part"]:
        order = permutation(self._table.num_shards, self._seed, Stream.SHARDS, epoch).tolist()
        shared = len(order) - len(order) % self._world_size
        dealt = [_Part(shard) for shard in order[:shared][self._rank :: self._world_size]]
        # the first process gets the odd image, each time another is the first
        return dealt + [
            _Part(shard, (self._rank + turn) % self._world_size, self._world_size)
            for turn, shard in enumerate(order[shared:])
        ]


@dataclass(frozen=True)
class _Part:
    """A shard, or of its images those of one among several nodes."""

    shard: int
    node: int = 0
    nodes: int = 1

    def of(self, table: Any) -> Any:
        """The whole shard as a stream of its own."""
        return finely(table.shard(num_shards=table.num_shards, index=self.shard))

    def rows(self, shard: Any) -> Iterator[Example]:
        """The node's examples; the shard's state is that after all nodes' share of one round."""
        rows = iter(shard)
        while group := list(islice(rows, self.nodes)):
            yield from group[self.node : self.node + 1]


class _Lane:
    """Parts of a stream that are read one after the other."""

    def __init__(
        self,
        table: Any,
        parts: list[_Part],
        keep: Callable[[Example], bool] | None,
        place: int,
        state: Any,
    ) -> None:
        self._table = table
        self._parts = parts
        self._keep = keep
        self._place = place
        self._rows: Iterator[Example] = iter(())
        self._open = self._opened(state)

    @property
    def state(self) -> list[Any]:
        """The part that is open and the state that ``datasets`` has of it, None at its start."""
        return [self._place, self._state]

    def take(self, count: int) -> list[Example]:
        """So many examples, fewer at the end."""
        taken: list[Example] = []
        while self._open is not None and len(taken) < count:
            taken += islice(self._rows, count - len(taken))
            self._state = self._open.state_dict()
            if len(taken) < count:
                self._place += 1
                self._open = self._opened(None)
        return taken

    def _opened(self, state: Any) -> Any:
        self._state = state
        if self._place == len(self._parts):
            return None
        part = self._parts[self._place]
        shard = part.of(self._table)
        if state is not None:
            shard.load_state_dict(state)
        self._rows = filter(self._keep, part.rows(shard)) if self._keep else part.rows(shard)
        return shard


def _filled(lanes: list[_Lane], size: int) -> list[Example]:
    """Up to ``size`` examples, as evenly from all lanes as they have them."""
    rows: list[Example] = []
    found = -1
    while len(rows) < size and len(rows) > found:
        found = len(rows)
        for lane in lanes:
            rows += lane.take(min(-(-size // len(lanes)), size - len(rows)))
    return rows
