"""Whose fault it is: a `Verdict` is the model's, a `UserError` the user's input, anything else is ours and raises."""


class UserError(Exception):
    """Bad input, told in one line: what is wrong, the offending value, and the fix. The CLI prints it and exits 2."""


class RecipeError(UserError):
    """A recipe key with an unknown name, a wrong type or a value out of bounds."""


class DataError(UserError):
    """A problem file or data set that cannot be used: names the file, the line and the fix."""


class ModelError(UserError):
    """A model folder, tokenizer or chat template that cannot be used."""


class RunLocked(UserError):
    """Another live process owns the run folder."""


class DoctorFailed(Exception):
    """A check before step 1 failed; the message names the check, the figure and what to change. Exit code 1."""


class InvalidVerdicts(Exception):
    """Too many verdicts were `invalid` (our graders fail), so the run stops rather than train on what is left."""


class ProcessLost(Exception):
    """A process of ours died or did not answer in time; the message names which, what it was doing, and for what.

    Whoever owns the process starts another one; it only reaches the user where that did not help.
    """


class Stopped(Exception):
    """The run was asked to stop (SIGTERM) and has kept all there is to keep; the message says so. Exit code 0."""
