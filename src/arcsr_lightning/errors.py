"""The exception for bad input, and the one check that every layer makes."""


class InputError(ValueError):
    """A file or a setting is at fault; the message is one line that names it and says what would be right."""


class FolderInUseError(InputError):
    """Another process is at work in the folder, which is to be left as it is."""


def check_odd(kernel_size: int) -> int:
    """Return ``kernel_size``; raises InputError where a kernel of that size has no centre."""
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise InputError(f"kernel_size must be odd, so that a kernel has a centre; got {kernel_size}")
    return kernel_size
