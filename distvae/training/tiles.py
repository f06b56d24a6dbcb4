"""Products of small matrices on a GPU, compiled together with what surrounds them.

The library's kernels take a launch for the product, often one that adds up its parts, and leave a
layer's bias and nonlinearity to a third. A template gives the compiler the product as source, to
which it adds what precedes and follows. Its tiles are chosen by the sizes alone, never by the
clock, so that a run computes the same bytes when it is gone on with.

Legend: M rows, N columns, K numbers of each sum.
"""

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

MOST = 2**27
"""Multiplications of a product above which it is the library's."""
FILLED = 64
"""Programs that keep most of a GPU busy."""


CAPABILITY = 8
"""Of a GPU that multiplies bf16 and tf32."""


class Tile(NamedTuple):
    """How a product is divided."""

    rows: int
    columns: int
    depth: int
    """Numbers of each sum taken at once."""
    warps: int
    stages: int
    """Parts of the sum that are under way at once."""


TILES = (Tile(64, 64, 32, 4, 3), Tile(32, 64, 32, 4, 4), Tile(32, 32, 64, 4, 4))
LEAST = Tile(16, 32, 64, 4, 4)


def tile_of(rows: int, columns: int) -> Tile:
    """The largest tile with which there are programs for a whole GPU."""
    for tile in TILES:
        if -(-rows // tile.rows) * -(-columns // tile.columns) >= FILLED:
            return tile
    return LEAST


@torch.library.custom_op("distvae::tiled", mutates_args=())
def tiled(left: Tensor, right: Tensor) -> Tensor:
    """``[M, K]`` times ``[K, N]`` on a GPU; as it is written here where nothing is compiled."""
    return left @ right


@tiled.register_fake
def _(left: Tensor, right: Tensor) -> Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


def fits(left: Tensor, right: Tensor) -> bool:
    """Whether the template takes a product."""
    sizes = (*left.shape, right.shape[1])
    known = all(isinstance(size, int) and size > 0 for size in sizes)
    kinds = (torch.float32, torch.bfloat16, torch.float16)
    return (
        known
        and left.device.type == "cuda"
        and torch.cuda.get_device_capability(left.device)[0] >= CAPABILITY
        and left.dtype is right.dtype
        and left.dtype in kinds
        and sizes[0] * sizes[1] * sizes[2] <= MOST
    )


@functools.cache
def usable() -> bool:
    """Whether this torch's compiler can be given the template."""
    try:
        _tell_compiler()
    except (ImportError, AttributeError, TypeError):  # these names of torch are not public
        return False
    return True


SOURCE = r"""
{{def_kernel("A", "B")}}
    M = {{size("A", 0)}}
    N = {{size("B", 1)}}
    K = {{size("A", 1)}}
    across = (N + BLOCK_N - 1) // BLOCK_N
    program = tl.program_id(0).to(INDEX_DTYPE)
    rows = program // across * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = program % across * BLOCK_N + tl.arange(0, BLOCK_N)
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, K, BLOCK_K):
        part = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < M) & (part[None, :] < K)
        b_mask = (part[:, None] < K) & (columns[None, :] < N)
        idx_m = rows[:, None]
        idx_n = part[None, :]
        {{load_input("A", "a", ("idx_m", "idx_n"), mask="a_mask", indent_width=8,
                     index_shape=("BLOCK_M", "BLOCK_K"))}}
        idx_m = part[:, None]
        idx_n = columns[None, :]
        {{load_input("B", "b", ("idx_m", "idx_n"), mask="b_mask", indent_width=8,
                     index_shape=("BLOCK_K", "BLOCK_N"))}}
        total = tl.dot(a, b, total, input_precision=PRECISION)
    idx_m = rows[:, None]
    idx_n = columns[None, :]
    mask = (idx_m < M) & (idx_n < N)
    {{store_output(("idx_m", "idx_n"), "total", "mask", val_shape=("BLOCK_M", "BLOCK_N"))}}
"""


def precision_of(dtype: torch.dtype) -> str:
    """How a tile is multiplied: float32 as three products of tf32, exact to its last digits."""
    if dtype is not torch.float32:
        return "ieee"
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "tf32x3"


@functools.cache
def _template() -> Any:
    """The template under a name of the compiler, which knows each name once."""
    from torch._inductor.kernel.mm_common import mm_grid
    from torch._inductor.select_algorithm import TritonTemplate

    return TritonTemplate(name="distvae_tiled", grid=mm_grid, source=SOURCE)


def _tell_compiler() -> None:
    """Let the compiler make the product by the template."""
    from torch._inductor.kernel.mm_common import mm_args
    from torch._inductor.lowering import register_lowering

    template = _template()

    @register_lowering(torch.ops.distvae.tiled.default, type_promotion_kind=None)
    def _(left: Any, right: Any) -> Any:
        rows, columns, _, layout, left, right = mm_args(left, right)  # type: ignore[no-untyped-call]
        tile, choices = tile_of(int(rows), int(columns)), []  # type: ignore[var-annotated]
        failed = template.maybe_append_choice(
            choices,
            input_nodes=(left, right),
            layout=layout,
            num_stages=tile.stages,
            num_warps=tile.warps,
            BLOCK_M=tile.rows,
            BLOCK_N=tile.columns,
            BLOCK_K=tile.depth,
            PRECISION=repr(precision_of(left.get_dtype())),
        )
        if failed is not None:
            raise failed
        return choices[0].output_node()
