"""Which space a trained model's paths and planes are drawn in."""

from distvae.tools.space import Space
from distvae.tools.trained import Trained


def space_of(trained: Trained) -> Space:
    """That of a trained model, by its weights or by its files.

    Raises:
        DistvaeError: it has several levels of latents, or maps, without a noise for each latent.
    """
    if trained.onnx is not None:
        from distvae.tools.exported_space import ExportedSpace

        return ExportedSpace(trained)
    from distvae.tools.weighed_space import WeighedSpace

    return WeighedSpace(trained)
