"""The precision and the workers that the machine gains from, the batches that the data does, and their way there."""

from __future__ import annotations

import torch
from torch import Tensor

from flyweight.machine.together import from_first, processes
from flyweight.recipes.sections import TrainConfig


def settle(config: TrainConfig, images: int) -> TrainConfig:
    """Replace what a recipe leaves open by what this machine and the data gain from; a resumed run repeats the choice.

    bfloat16 pays where the processor multiplies it natively, a worker process for the augmentation where there is a
    core to spare. A batch is as large as leaves eight steps an epoch.

    Args:
        config: of the training.
        images: that it trains on.
    """
    # all processes must train alike: the first one's machine decides
    precision, size = from_first(
        ("bfloat16" if gains_from_bfloat16(processes().device) else "float32", batch_size(images))
    )
    if config.precision != "auto":
        precision = config.precision
    workers = config.workers
    if workers is None:
        workers = 0 if torch.get_num_threads() <= 2 and not torch.cuda.is_available() else 2
    size = size if config.batch_size is None else config.batch_size
    return config.model_copy(update={"precision": precision, "workers": workers, "batch_size": size})


def batch_size(images: int, steps: int = 8) -> int:
    """The largest power of two from 8 to 256 with which an epoch of so many images has so many steps.

    8 where there is none: fewer images a batch make a batch norm's statistics poor. All where there are fewer than 8.
    """
    sizes = [size for size in (256, 128, 64, 32, 16) if images // size >= steps]
    return sizes[0] if sizes else max(1, min(8, images))


def sent(batch: Tensor, device: torch.device) -> Tensor:
    """A batch of the CPU's memory on a device; this process does not wait for what a GPU still has to do."""
    # from pageable memory it would wait for the copy, and so for all steps that were queued before
    return (batch.pin_memory() if device.type == "cuda" else batch).to(device, non_blocking=True)


def gains_from_bfloat16(device: torch.device) -> bool:
    """Whether this device multiplies bfloat16 natively."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
