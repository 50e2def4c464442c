"""The process that one submission is judged in: ``python -m flyweight.marking.child``, started by `isolated`.

It takes from standard input one line of JSON: the descriptor to answer to, limits and the task. It answers ``ready``
when the submission's code is about to begin, and then one object: an answer, an ``error`` or a ``bug``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Judge one task and end, whatever the submission's code has left to do at exit."""
    order = json.loads(sys.stdin.readline())
    folder = Path.cwd()
    from flyweight.marking import fence

    apart = fence.namespaces(folder)
    # what is imported before the limits does not count to the submission
    from flyweight import analysis, rules
    from flyweight.marking import task as tasks
    from flyweight.networks import build

    assert analysis
    assert rules
    assert build
    task = tasks.Task.model_validate(order["task"])
    sys.path.append(task.folder)
    sys.stdout = sys.stderr
    answer = os.fdopen(order["answer"], "w", encoding="utf-8")
    answer.write(json.dumps({"ready": True, "apart": apart}) + "\n")
    answer.flush()
    fence.limits(2 * order["seconds"] + 5, order["memory"])
    fence.refuse(folder, starting=apart)
    answer.write(json.dumps(_judged(task, order["memory"])) + "\n")
    answer.flush()
    os._exit(0)


def _judged(task: Any, memory: int) -> dict[str, Any]:
    from flyweight.errors import FlyweightError
    from flyweight.marking.task import answered
    from flyweight.text import one_line

    notes: list[str] = []
    try:
        return {**answered(task, notes.append), "notes": notes}
    except FlyweightError as error:
        if _out_of_memory(error):
            return {"error": f"it needs more memory than the limit of {memory / 2**30:g} GiB", "notes": notes}
        return {"error": str(error), "notes": notes}
    except MemoryError:
        return {"error": f"it needs more memory than the limit of {memory / 2**30:g} GiB", "notes": notes}
    except BaseException as error:
        # an interrupt is the submission's own here: the terminal's goes to its parent
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            return {"error": f"its code raised {type(error).__name__}", "notes": notes}
        if _out_of_memory(error):
            return {"error": f"it needs more memory than the limit of {memory / 2**30:g} GiB", "notes": notes}
        return {"bug": f"{type(error).__name__}: {one_line(error)}", "notes": notes}


def _out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or "allocate memory" in str(error) or "bad_alloc" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    main()
