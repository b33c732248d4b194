"""What a process that waits for its model does meanwhile: it loads a smallest one, and may ask it a row.

Every page that a process is the first to write to is copied from the zygote's, reference counts too, and code that has
not run for a while is in no cache: that takes half of a small load. Here nobody waits for it yet. The pages that were
copied count as the next model's.

No line of a user's code may run here, as the process is not confined yet: what is loaded is one of the models beside
this module, one for a framework, or, for the frameworks that have none, what is no model. A folder is named for its
framework. XGBoost reads its JSON in every later version.
"""

import os
from contextlib import suppress
from pathlib import Path

from serving import frameworks, handler
from serving.frames import Request
from serving.frameworks.versions import Watch

_MODELS = Path(__file__).parent
_ROW = Request("", {}, "text/csv", b"0.5,1\n")


def rehearse(likely: str | None, answers: bool = False) -> None:
    """likely: the framework of the next model, by its name, as far as that can be told. answers: whether that model is
    likely to answer without a user's code. Raises RuntimeError where a library has started a thread: that one would not
    be confined. Anything else that is wrong, the load will say."""
    with suppress(Exception):  # a load of what is no model among it
        with Watch("allow"):
            pass
        model = handler.Handler("", _smallest(likely), handler.Options(version_skew="allow"))
        if answers:
            model.respond(_ROW)
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"loading a model of {likely} has started threads ({threads})")


def _smallest(framework: str | None) -> Path:
    folder = _MODELS / framework if framework in frameworks.FRAMEWORKS else None
    return folder if folder and folder.is_dir() else Path(os.devnull)
