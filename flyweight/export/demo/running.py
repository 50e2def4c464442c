"""The engine, run outside a browser: what the page will say."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flyweight.errors import FlyweightError
from flyweight.export.demo.packed import Packed

ENGINE = Path(__file__).with_name("engine.wasm")


def require() -> None:
    """Go on only where WebAssembly can be run.

    Raises:
        FlyweightError: wasmtime is missing; what to type is in the message.
    """
    if importlib.util.find_spec("wasmtime") is None:
        raise FlyweightError("demo is checked by running it, which needs wasmtime: pip install 'flyweight[export]'")


class Running:
    """A network in the engine's memory, on one thread.

    Args:
        network: laid out.
        engine: of wasmtime.
        module: `engine.wasm`, compiled.
    """

    def __init__(self, network: Packed, engine: Any, module: Any) -> None:
        import wasmtime

        self._network, layout = network, network.layout
        self._store = wasmtime.Store(engine)
        # by name: what each is, a function or a memory, the engine's source says
        exports: Any = wasmtime.Instance(self._store, module, []).exports(self._store)
        self._memory, self._run = exports["memory"], exports["run"]
        base = -(-exports["__heap_base"].value(self._store) // 16) * 16
        self._at = {name: base + place for name, place in layout.items()}
        missing = self._at["image"] + network.image - self._memory.data_len(self._store)
        if missing > 0:
            self._memory.grow(self._store, -(-missing // 65536))
        self._memory.write(self._store, network.steps.tobytes(), self._at["steps"])
        self._memory.write(self._store, network.packed.tobytes(), self._at["arena"])
        packed, weights = self._at["arena"], self._at["weights"]
        for count, factor in network.parts:
            exports["unpack"](self._store, packed, count, factor, weights)
            packed, weights = packed + 3 * count, weights + 4 * count

    def __call__(self, image: np.ndarray, classes: int) -> np.ndarray:
        """(H, W, C) uint8 to (classes,) float32."""
        at, store = self._at, self._store
        self._memory.write(store, np.ascontiguousarray(image).tobytes(), at["image"])
        self._run(store, at["steps"], len(self._network.steps), at["weights"], at["arena"], at["image"])
        return self.floats(self._network.logits, classes)

    def floats(self, place: int, count: int) -> np.ndarray:
        """Numbers of the arena, as the last image left them."""
        start = self._at["arena"] + 4 * place
        return np.frombuffer(bytes(self._memory.read(self._store, start, start + 4 * count)), np.float32)


def opened(network: Packed) -> Callable[[], Running]:
    """What makes instances of the engine with a network in its memory: one a thread."""
    import wasmtime

    engine = wasmtime.Engine()
    module = wasmtime.Module(engine, ENGINE.read_bytes())
    return lambda: Running(network, engine, module)


def answers(network: Packed, count: int, classes: int, pixels: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """Logits of images, on as many threads as torch has.

    Args:
        network: laid out.
        count: how many images.
        classes: how many.
        pixels: (n, H, W, C) uint8, the images from one place up to another.

    Returns:
        (count, classes) float32.
    """
    make, threads = opened(network), torch.get_num_threads()
    bounds = np.linspace(0, count, threads + 1).astype(int)

    def part(start: int, end: int) -> np.ndarray:
        running = make()
        found = [running(image, classes) for image in pixels(start, end)]
        return np.array(found, np.float32).reshape(-1, classes)

    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(part, bounds[:-1], bounds[1:])))
