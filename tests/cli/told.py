"""What a line that ends a command must say to a person: what is wrong, where, and what to do."""

import re

LONGEST = 500
"""Characters."""
_TO_DO = (
    "add", "allow", "ask", "begin", "check", "choose", "close", "copy", "delete", "download", "end", "export", "free",
    "get", "give", "install", "leave", "lower", "make", "mend", "move", "name", "open", "put", "remove", "rename",
    "replace", "resume", "run", "save", "see", "send", "set", "start", "take", "train", "try", "turn", "use", "write",
    "writes",
)  # fmt: skip
# what to do comes behind a mark that parts it from what is wrong, or in the words of a list of choices
_ADVICE = re.compile(
    rf"(?:[:;,(] ?|\bso |\band |\bor |\bto )(?:(?:{'|'.join(_TO_DO)})\b|--\w)|did you mean|shipped: "
    r"|built-in ones are |makes one$"
)
# what Python and its libraries say to one another
_RAW = re.compile(r"Errno|Traceback|bug of flyweight|\b0x[0-9a-f]|\bNone\b|<class|Exception")


def wrong(error: str, *where: str) -> list[str]:
    """What is wrong with how an error was told.

    Args:
        error: all that went to standard error.
        where: of these names one has to be there, as a word of its own.
    """
    lines = [line for line in error.splitlines() if line.startswith("flyweight: ")]
    if len(lines) != 1 or error.splitlines()[-1] != lines[0]:
        return [f"{len(lines)} lines in place of one at the end: {error[-600:]}"]
    line = lines[0].removeprefix("flyweight: ")
    found = [f"it says {word!r}" for word in dict.fromkeys(_RAW.findall(line))]
    if len(line) > LONGEST:
        found.append(f"it has {len(line)} characters")
    if not line.isprintable():
        found.append("it holds what a terminal obeys")
    if where and not any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", line) for name in where):
        found.append(f"it does not say where: {' or '.join(where)}")
    if not _ADVICE.search(line):
        found.append("it does not say what to do")
    return [f"{what}: {line}" for what in found]
