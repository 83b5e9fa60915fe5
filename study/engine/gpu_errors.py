"""Tell apart what a GPU's faults mean: too little memory, or a process that can use it no more."""

from __future__ import annotations

OUT_OF_MEMORY = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""torch's allocator raises OutOfMemoryError; a CUDA context and the libraries' workspaces fail with a RuntimeError."""
BROKEN = ("CUDA error:", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_EXECUTION_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a GPU's memory did not suffice; needs no torch, whose class it knows by name."""
    if type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in OUT_OF_MEMORY)


def is_gpu_lost(error: BaseException) -> bool:
    """Whether every later call of this process would fail as well: after an illegal access, a failed assertion, ECC."""
    says = isinstance(error, RuntimeError) and any(said in str(error) for said in BROKEN)
    return says and not is_out_of_memory(error)
