"""Record a function's GPU work once and replay it (CUDA graphs).

The encoder consists of about a thousand small kernels. Launching them one by one takes longer than
running them; a recorded graph launches them all at once.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Recording = tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], T]
"""A graph, its input tensors and its result."""


class GraphedFunction(Generic[T]):
    """A function of tensors that is recorded once per set of input shapes and then replayed.

    On a CPU the function is simply called. On a GPU it must not synchronise with the host, and its
    work may depend only on the shapes and types of its inputs. **Every call returns the same
    object**: the next call overwrites its contents.

    Parameters
    ----------
    function
        The function to record.
    pool
        Memory pool (`torch.cuda.graph_pool_handle`) that several functions may share if they are
        called in turn. A call then also overwrites the results of functions recorded later.
    """

    def __init__(self, function: Callable[..., T], pool: Any = None) -> None:
        self.function, self.pool = function, pool
        self.recordings: dict[Any, Recording[T]] = {}

    def __call__(self, *tensors: Tensor) -> T:
        if not tensors[0].is_cuda:
            return self.function(*tensors)
        key = tuple((tensor.shape, tensor.dtype) for tensor in tensors)
        if key not in self.recordings:
            self.recordings[key] = self._record(tensors)
        graph, inputs, result = self.recordings[key]
        for recorded_input, tensor in zip(inputs, tensors, strict=True):
            recorded_input.copy_(tensor)
        graph.replay()
        return result

    def _record(self, tensors: tuple[Tensor, ...]) -> Recording[T]:
        inputs = tuple(tensor.clone() for tensor in tensors)
        stream = torch.cuda.Stream()  # warm-up: one-time library set-up must not be recorded
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.function(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            result = self.function(*inputs)
        return graph, inputs, result
