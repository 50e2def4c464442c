"""Which dimension of a tensor is the image's height, which its width, even after reshapes and permutations.

Each dimension is a row of atoms. An atom is a stretch of plain features, or a part of an axis of the image:
its index counts steps of `scale` pixels of the map. A plain map has one atom of scale 1 for each axis; moving a
dilation into the batch ("space to batch") splits an axis in two atoms, which a later reshape joins again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import NamedTuple

HEIGHT, WIDTH, PLAIN = 0, 1, -1
AXES = (HEIGHT, WIDTH)


class Atom(NamedTuple):
    """A factor of a dimension: axis (HEIGHT, WIDTH or PLAIN), number of steps, pixels of the map in a step."""

    axis: int
    size: int
    scale: int = 1


Dim = tuple[Atom, ...]
Layout = tuple[Dim, ...]


class LostError(Exception):
    """The positions can no longer be followed."""


def plain(size: int) -> Dim:
    """A dimension of features."""
    return (Atom(PLAIN, size),) if size > 1 else ()


def of_image(shape: Sequence[int]) -> Layout:
    """Layout of the network's input: (N, C, H, W); (N, C, L) has a width only; anything else has no axis."""
    dims = [plain(size) for size in shape]
    if len(shape) in (3, 4):
        dims[-1] = (Atom(WIDTH, shape[-1]),)
    if len(shape) == 4:
        dims[-2] = (Atom(HEIGHT, shape[-2]),)
    return tuple(dims)


def axes(layout: Layout) -> set[int]:
    """Axes of the image that the tensor still has."""
    return {atom.axis for dim in layout for atom in dim if atom.axis != PLAIN}


def size_of(dim: Dim) -> int:
    """Entries of a dimension."""
    return prod(atom.size for atom in dim)


def has_axis(dim: Dim) -> bool:
    """Whether positions of the image are in a dimension."""
    return any(atom.axis != PLAIN for atom in dim)


def lay_over(dims: list[Dim], others: Iterable[tuple[int, Dim]]) -> None:
    """Put the positions of one operand, by index of the dimension, over those that others have there already.

    Raises:
        LostError: another one has other positions there.
    """
    for index, dim in others:
        if has_axis(dim):
            if has_axis(dims[index]) and dims[index] != dim:
                raise LostError
            dims[index] = dim


def extent(layout: Layout, axis: int) -> int:
    """Positions along an axis; 0 when the tensor does not have it."""
    sizes = [atom.size for dim in layout for atom in dim if atom.axis == axis]
    return prod(sizes) if sizes else 0


def single(dim: Dim) -> Atom | None:
    """The atom of a dimension that is (a part of) one axis and nothing else; None for features.

    Raises:
        LostError: the dimension mixes an axis with something else.
    """
    if all(atom.axis == PLAIN for atom in dim):
        return None
    if len(dim) != 1:
        raise LostError
    return dim[0]


def join(atoms: Sequence[Atom]) -> Dim:
    """Merge neighbours that belong together: features with features, the high and the low part of an axis."""
    joined: list[Atom] = []
    for atom in atoms:
        last = joined[-1] if joined else None
        if last and last.axis == atom.axis and (atom.axis == PLAIN or last.scale == atom.size * atom.scale):
            joined[-1] = Atom(atom.axis, last.size * atom.size, atom.scale)
        else:
            joined.append(atom)
    return tuple(joined)


def reshape(layout: Layout, shape: Sequence[int]) -> Layout:
    """Layout after a reshape in row-major order.

    Raises:
        LostError: a dimension begins or ends inside an atom that does not divide.
    """
    pending = [atom for dim in layout for atom in dim if atom.size > 1]
    pending.reverse()
    dims: list[Dim] = []
    for size in shape:
        taken: list[Atom] = []
        while size > 1:
            atom = pending.pop()
            if atom.size <= size and size % atom.size == 0:
                taken.append(atom)
                size //= atom.size
            elif atom.size > size and atom.size % size == 0:
                rest = atom.size // size
                step = atom.scale if atom.axis == PLAIN else atom.scale * rest
                taken.append(Atom(atom.axis, size, step))
                pending.append(Atom(atom.axis, rest, atom.scale))
                size = 1
            else:
                raise LostError
        dims.append(join(taken))
    return keep_ones(layout, shape, dims)


def keep_ones(before: Layout, shape: Sequence[int], after: list[Dim]) -> Layout:
    """A reshape that changes nothing keeps maps of one pixel as maps; others forget them."""
    if len(before) == len(after) and all(
        prod(atom.size for atom in dim) == size for dim, size in zip(before, shape, strict=True)
    ):
        return before
    return tuple(after)


def split_contracted(layout: Layout, dims: set[int]) -> tuple[Layout, dict[int, int | None]]:
    """What is left of each axis when the dimensions `dims` are summed over.

    Returns:
        The layout with those dimensions emptied and scales renewed; and for each axis that lost something how many
        positions one position of the rest stands for, None when nothing is left.

    Raises:
        LostError: the high part of an axis is summed and the low part stays.
    """
    lost: dict[int, int | None] = {}
    kept = [() if index in dims else dim for index, dim in enumerate(layout)]
    for axis in axes(layout):
        gone = [a for i in dims for a in layout[i] if a.axis == axis]
        left = [a for dim in kept for a in dim if a.axis == axis]
        if not gone:
            continue
        if not left:
            lost[axis] = None
            continue
        step = prod(a.size for a in gone)
        if any(a.scale % step for a in left) or min(a.scale for a in left) != step:
            raise LostError
        kept = [tuple(a._replace(scale=a.scale // step) if a.axis == axis else a for a in dim) for dim in kept]
        lost[axis] = step
    return tuple(kept), lost
