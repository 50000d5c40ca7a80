"""How a network is scored: inference protocols, the confusion matrix and the files that predictions become."""

from seglab.evaluation.inference import Inference, Slide, Whole
from seglab.evaluation.metric import SegmentationMetric
from seglab.evaluation.pseudo_quality import PseudoLabelQuality

__all__ = ["Inference", "PseudoLabelQuality", "SegmentationMetric", "Slide", "Whole"]
