"""Measurements on trained models: the law of prediction, choice points, information."""
