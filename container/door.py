"""What the zygote asks of a front: it stands at the door, opens models (hosted.Hosted) and is told of their fates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from serving import frames
from serving.errors import MedleyError

if TYPE_CHECKING:
    from container.hosted import Hosted


class Door(Protocol):
    """A front's side of the zygote.

    keeps_broken: it can keep callers off a model that is broken; else such a model is lost.
    """

    keeps_broken: bool

    def heard(self, hosted: Hosted, load: frames.Load) -> None:
        """A connection has said LOAD, and will be answered."""

    def refused(self, hosted: Hosted) -> None:
        """Its LOADs have been answered with an error: the front will unload it."""

    def lost(self, hosted: Hosted) -> None:
        """The model is gone for good: the front must unload it."""

    def broken(self, hosted: Hosted, reason: MedleyError, seconds: float) -> None:
        """It is tried again after so many seconds, and `mended` when it is there."""

    def mended(self, hosted: Hosted) -> None:
        """It can be asked again."""

    def loaded(self, hosted: Hosted, size: int) -> None:
        """It takes so many bytes."""

    def grow(self, hosted: Hosted, connections: int) -> None:
        """The model is hot: it could use that many connections."""

    def closed(self, hosted: Hosted) -> None:
        """Nothing of the model is left."""
