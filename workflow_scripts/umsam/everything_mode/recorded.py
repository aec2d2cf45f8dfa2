"""Functions whose GPU work is recorded once and then replayed (CUDA graphs).

An encoder is a thousand small launches, which take longer to ask for than to do. A recording asks
for all of them at once.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Recorded(Generic[T]):
    """A function of tensors; on a GPU it is run once for each shape of them, then replayed.

    The function must not wait for the GPU, and its work must depend on the shapes alone. **The
    result is the same object each time**: the next call overwrites it. On a CPU the function is
    called.

    Functions that are called in turn may share a `pool` of memory (`torch.cuda.graph_pool_handle`);
    then a call also overwrites what functions recorded after this one returned.
    """

    def __init__(self, function: Callable[..., T], pool: Any = None) -> None:
        self.function, self.pool = function, pool
        self.recordings: dict[Any, tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], T]] = {}

    def __call__(self, *tensors: Tensor) -> T:
        if not tensors[0].is_cuda:
            return self.function(*tensors)
        key = tuple((tensor.shape, tensor.dtype) for tensor in tensors)
        if key not in self.recordings:
            self.recordings[key] = self._record(tensors)
        graph, inputs, result = self.recordings[key]
        for mine, given in zip(inputs, tensors, strict=True):
            mine.copy_(given)
        graph.replay()
        return result

    def _record(self, tensors: tuple[Tensor, ...]) -> tuple:
        inputs = tuple(tensor.clone() for tensor in tensors)
        stream = torch.cuda.Stream()  # what libraries set up at first must not be recorded
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.function(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            result = self.function(*inputs)
        return graph, inputs, result
