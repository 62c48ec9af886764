"""The one exception for bad input."""


class InputError(ValueError):
    """A file or a setting is at fault; the message is one line that names it and says what would be right."""
