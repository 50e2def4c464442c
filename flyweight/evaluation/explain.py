"""Where a network looked: Grad-CAM on its last map, through captum."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch import Tensor, nn

from flyweight import analysis
from flyweight.images.preprocess import normalize
from flyweight.networks.modes import evaluating
from flyweight.runs.card import Trained


class Explainer:
    """Grad-CAM of one network, whose last map is looked for once.

    Attributes:
        layer: that ends with the map; None where the network has no map with more than one place.
    """

    def __init__(self, trained: Trained, shape: Sequence[int] | None = None) -> None:
        """Look at a network.

        Args:
            trained: the network and its card.
            shape: (channels, height, width) of the images; none: as its card says.
        """
        self.trained, self._shape = trained, tuple(shape or trained.card.input_shape)
        self.device = next((parameter.device for parameter in trained.model.parameters()), torch.device("cpu"))
        with evaluating(trained.model) as network:
            self.layer = last_map(network, torch.zeros((1, *self._shape), device=self.device))

    @cached_property
    def _centres(self) -> tuple[np.ndarray, np.ndarray] | None:
        assert self.layer is not None
        return analysis.centres(self.trained.model, self._shape, self.layer)

    def __call__(self, images: np.ndarray, targets: Sequence[int]) -> np.ndarray:
        """The maps of images: see :func:`gradcam`. There must be a layer."""
        card = self.trained.card
        inputs = normalize(torch.from_numpy(np.array(images)).to(self.device), card.mean, card.std)
        with evaluating(self.trained.model) as network, torch.enable_grad():
            wanted = torch.as_tensor(list(targets), device=self.device)
            maps = LayerGradCam(network, self.layer).attribute(inputs, target=wanted, relu_attributions=True)
        full = _laid_out(maps.detach().float().cpu(), (inputs.shape[2], inputs.shape[3]), self._centres).squeeze(1)
        peak = full.amax(dim=(1, 2), keepdim=True)
        return torch.where(peak > 0, full / peak.clamp_min(1e-12), torch.zeros_like(full)).numpy()

    def places(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Where on the last map lies what is at each pixel of an image. There must be a layer.

        Args:
            size: (h, w) of the last map.

        Returns:
            (H,) rows and (W,) columns of the map, the first one being 0; between two of them a pixel has a share of
            both.
        """
        # what is linear says of a ramp where it reads
        ramps = torch.from_numpy(np.indices(size, np.float32)[:, None])
        found = _laid_out(ramps, self.trained.card.input_shape[1:], self._centres).squeeze(1)
        return found[0, :, 0].numpy(), found[1, 0].numpy()


def gradcam(trained: Trained, images: np.ndarray, targets: Sequence[int]) -> np.ndarray | None:
    """How much each place of an image speaks for a class (Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2).

    Each place of the map speaks for the pixel in the middle of its receptive field; between them the map is
    interpolated linearly, and beyond the outermost ones, as at the border of a network that pads little, it goes on.
    Where the analysis does not know those pixels, the map is stretched over the image. The network gets its mode back
    and keeps no hooks and no gradients.

    Args:
        trained: the network and its card.
        images: (N, H, W, C) uint8.
        targets: N indices of classes.

    Returns:
        (N, H, W) float32 in 0 to 1, the largest value of each image being 1; all zeros where nothing speaks for the
        class. None where the network has no map with more than one place.
    """
    explain = Explainer(trained, (images.shape[3], *images.shape[1:3]))
    return None if explain.layer is None else explain(images, targets)


def _laid_out(maps: Tensor, size: tuple[int, int], centres: tuple[np.ndarray, np.ndarray] | None) -> Tensor:
    """(N, 1, h, w) maps as (N, 1, H, W) images, each place at its centre."""
    if centres is None or not all((np.diff(axis) > 0).all() for axis in centres):
        return F.interpolate(maps, size, mode="bilinear")
    # a pixel's place between two centres, on grid_sample's scale of -1 to 1 from the first to the last
    rows, columns = (
        torch.from_numpy(np.interp(np.arange(length), axis, np.linspace(-1, 1, len(axis)))).float()
        for length, axis in zip(size, centres, strict=True)
    )
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=True)


def last_map(network: nn.Module, example: Tensor) -> nn.Module | None:
    """The module that ends last with a map of more than one place, which is the one before the global pooling.

    It is found by running the network, so that names do not matter. A block ends after its parts, so that of a
    residual layer the sum is taken and not its branch.

    Args:
        network: left without hooks.
        example: (N, C, H, W), as the network takes it.
    """
    ended: list[nn.Module] = []

    def note(module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            ended.append(module)

    handles = [module.register_forward_hook(note) for module in network.modules() if module is not network]
    try:
        with torch.no_grad():
            network(example)
    finally:
        for handle in handles:
            handle.remove()
    return ended[-1] if ended else None
