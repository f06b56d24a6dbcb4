"""What `distvae evaluate --metrics` can name: one file a metric."""

from distvae.declarations import registry
from distvae.evaluation.metrics.base import Metric, Subject, Values

__all__ = ["METRICS", "Metric", "Subject", "Values"]

METRICS: dict[str, Metric] = {name: metric() for name, metric in registry("metric").items()}
