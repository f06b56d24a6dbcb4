"""The tools as methods of a run; each is imported when it is called.

Legend: N images, S the axes of an example.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from distvae.labels import Labels

if TYPE_CHECKING:
    from distvae.tools.comparison import Comparison
    from distvae.tools.embed import Embedding
    from distvae.tools.manifold import Manifold
    from distvae.tools.paths import Interpolation
    from distvae.tools.reconstruction import Reconstruction
    from distvae.tools.repaired import Repair
    from distvae.tools.score import ScoreResult
    from distvae.tools.traverse import Traversal


class Tools:
    """What can be asked of a trained model in a folder.

    Images are what ``distvae.train(data=...)`` takes, and one alone; None is the run's test split.
    Labels are those of the images, one for all or one for each. Options are those of the function.
    """

    folder: Path

    def embed(
        self, images: Any = None, labels: Labels | None = None, **options: Any
    ) -> "Embedding":
        """Latents of images ``[N, *S]``: :func:`distvae.tools.embed.embed`."""
        from distvae.tools.embed import embed

        return embed(self.folder, images, labels, **options)

    def score(
        self, images: Any = None, labels: Labels | None = None, **options: Any
    ) -> "ScoreResult":
        """How unlike the training data images ``[N, *S]`` are: :func:`distvae.tools.score.score`."""
        from distvae.tools.score import score

        return score(self.folder, images, labels, **options)

    def reconstruct(
        self, images: Any = None, labels: Labels | None = None, **options: Any
    ) -> "Reconstruction":
        """What is kept of images ``[N, *S]``: :func:`distvae.tools.reconstruct.reconstruct`."""
        from distvae.tools.reconstruct import reconstruct

        return reconstruct(self.folder, images, labels, **options)

    def interpolate(
        self, images: Any = None, labels: Labels | None = None, **options: Any
    ) -> "Interpolation":
        """A path through N images or draws: :func:`distvae.tools.interpolate.interpolate`.

        Without images it is drawn between draws of the prior.
        """
        from distvae.tools.interpolate import interpolate

        return interpolate(self.folder, images, labels, **options)

    def traverse(
        self, image: Any = None, label: Labels | None = None, **options: Any
    ) -> "Traversal":
        """What each latent changes: :func:`distvae.tools.traverse.traverse`.

        Around one image ``[*S]``, or around the middle of the prior.
        """
        from distvae.tools.traverse import traverse

        return traverse(self.folder, image, label, **options)

    def manifold(self, label: Labels | None = None, **options: Any) -> "Manifold":
        """Examples over a plane of latents: :func:`distvae.tools.manifold.manifold`."""
        from distvae.tools.manifold import manifold

        return manifold(self.folder, label, **options)

    def repair(self, images: Any = None, labels: Labels | None = None, **options: Any) -> "Repair":
        """What is behind noisy or hidden pixels of images: :func:`distvae.tools.repair.repair`."""
        from distvae.tools.repair import repair

        return repair(self.folder, images, labels, **options)

    def compare(self, *others: Any, **options: Any) -> "Comparison":
        """This run beside others: :func:`distvae.tools.compare.compare`."""
        from distvae.tools.compare import compare

        names = [getattr(other, "folder", other) for other in others]
        return compare([self.folder, *names], **options)

    def report(self, **options: Any) -> Path:
        """One HTML file that shows all of it: :func:`distvae.tools.report.report`."""
        from distvae.tools.report import report

        return report(self.folder, **options)
