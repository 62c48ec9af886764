"""The exception for bad input, one line of any other, and the one check that every layer makes."""

NO_MEMORY = ("out of memory", "can't allocate memory", "_ALLOC_FAILED")  # as torch, CUDA, its libraries and Triton say


class InputError(ValueError):
    """A file or a setting is at fault; the message is one line that names it and says what would be right."""


class FolderKeptError(InputError):
    """The folder is to be left as it is: another process is at work in it, or it holds a run of other settings."""


def check_odd(kernel_size: int) -> int:
    """Return ``kernel_size``; raises InputError where a kernel of that size has no centre."""
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise InputError(f"kernel_size must be odd, so that a kernel has a centre; got {kernel_size}")
    return kernel_size


def printable(text: object) -> str:
    """Text, a path say, with what is not UTF-8 in it written out as ``\\xe9``."""
    return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether there was no memory left, on a GPU (told by words, as torch takes seconds to import) or elsewhere."""
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in NO_MEMORY)
    return isinstance(error, MemoryError)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, its type's name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
