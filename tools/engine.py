"""Build the demo's engine, flyweight/export/demo/engine.wasm, from engine.c: python tools/engine.py [FILE].

Needs clang and lld (Debian: apt-get install clang lld). The result is committed, so that users need neither.
"""

import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "flyweight/export/demo/engine.c"
COMPILER = (
    "clang", "-std=c11", "-Wall", "-Wextra", "-Werror", "--target=wasm32", "-msimd128", "-mbulk-memory", "-O3",
    "-ffreestanding", "-nostdlib", "-Wl,--no-entry", "-Wl,--export=__heap_base", "-Wl,--strip-all",
)  # fmt: skip


def build(target: Path) -> None:
    """Compile into a file."""
    subprocess.run([*COMPILER, "-o", target, SOURCE], check=True)


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE.with_suffix(".wasm"))
